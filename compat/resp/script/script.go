package script

import (
	"crypto/sha1" //nolint:gosec // names scripts as Redis does, protects nothing
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	lua "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/parse"
)

const (
	// TextSizeMax bounds a script's text.
	TextSizeMax = 64 << 10
	// StringSizeMax bounds every string that a script makes.
	StringSizeMax = 8<<20 + 64<<10
	chunkName     = "user_script"
)

// Script is a compiled script. It may be run by many goroutines at a time.
type Script struct {
	Text  string
	SHA   string // SHA-1 of Text in lower-case hexadecimal
	proto *lua.FunctionProto
}

// Digest returns the name that EVALSHA uses for a text.
func Digest(text string) string {
	sum := sha1.Sum([]byte(text)) //nolint:gosec // see the import
	return hex.EncodeToString(sum[:])
}

// Compile reads a script. The error says what is wrong with its text.
func Compile(text string) (*Script, error) {
	if len(text) > TextSizeMax {
		return nil, fmt.Errorf("the script has %d bytes, at most %d are allowed", len(text), TextSizeMax)
	}
	proto, err := compile(text, chunkName)
	if err != nil {
		return nil, err
	}
	return &Script{Text: text, SHA: Digest(text), proto: proto}, nil
}

func compile(text, name string) (proto *lua.FunctionProto, err error) {
	// The compiler panics on some errors, for example too many registers.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s: %v", name, p)
		}
	}()
	text = strings.TrimPrefix(text, "\xef\xbb\xbf")
	if strings.HasPrefix(text, "\x1b") {
		return nil, errors.New("precompiled scripts are not accepted")
	}
	chunk, err := parse.Parse(strings.NewReader(text), name)
	if err != nil {
		return nil, errors.New(oneLine(err.Error()))
	}
	if err := (&rewrite{}).chunk(chunk); err != nil {
		return nil, err
	}
	proto, err = lua.Compile(chunk, name)
	if err != nil {
		return nil, errors.New(oneLine(err.Error()))
	}
	return proto, nil
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
