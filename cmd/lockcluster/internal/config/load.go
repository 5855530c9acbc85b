package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"

	"github.com/lockcluster/lockcluster/compat/bridge"
)

// Load merges the defaults, the file that --config or LOCKCLUSTER_CONFIG names,
// the environment (as os.Environ gives it) and the flags that were set.
func Load(fs *pflag.FlagSet, environ []string) (Server, error) {
	fromEnv, file, err := readEnv(environ)
	if err != nil {
		return Server{}, err
	}
	if f := fs.Lookup(flagConfig); f != nil && f.Changed {
		file = f.Value.String()
	}
	fromFile, inFile := values{}, bridge.Values{}
	if file != "" {
		read, err := readFile(file)
		if err != nil {
			return Server{}, err
		}
		if len(read.problems) > 0 {
			return Server{}, read.problems
		}
		fromFile, inFile = read.node, read.cluster
	}
	k := koanf.New("/") // no setting's name has a slash, so the keys stay flat
	for _, source := range []values{defaults(), fromFile, fromEnv, readFlags(fs)} {
		if err := k.Load(source, nil); err != nil {
			return Server{}, fmt.Errorf("merge settings: %w", err)
		}
	}
	var s Server
	if err := k.UnmarshalWithConf("", &s, koanf.UnmarshalConf{FlatPaths: true}); err != nil {
		return Server{}, fmt.Errorf("merge settings: %w", err)
	}
	s.Settings, err = mergeSettings(inFile, fs, environ)
	return s, err
}

// mergeSettings lays the environment and the flags over a file's blocks.
func mergeSettings(inFile bridge.Values, fs *pflag.FlagSet, environ []string) (bridge.Values, error) {
	inEnv, err := bridge.FromEnv(environ)
	if err != nil {
		return nil, err
	}
	inFlags, err := bridge.FromFlags(fs)
	if err != nil {
		return nil, err
	}
	return bridge.Merge(inFile, inEnv, inFlags), nil
}

// values is one source's settings, by name: each a string or a bool, as its
// setting says. It is a koanf provider.
type values map[string]any

// ReadBytes implements [koanf.Provider].
func (v values) ReadBytes() ([]byte, error) {
	return nil, errors.New("settings have no byte form")
}

// Read implements [koanf.Provider].
func (v values) Read() (map[string]any, error) { return v, nil }

// setText sets a setting from text.
func (v values) setText(s *setting, text string) error {
	if s.kind != kindBool {
		v[s.name] = strings.TrimSpace(text)
		return nil
	}
	b, err := strconv.ParseBool(strings.TrimSpace(text))
	if err != nil {
		return fmt.Errorf("want true or false, got %q", text)
	}
	v[s.name] = b
	return nil
}

func defaults() values {
	v := values{}
	for i := range settings {
		if err := v.setText(&settings[i], settings[i].fallback); err != nil {
			panic(fmt.Sprintf("default of %s: %v", settings[i].name, err))
		}
	}
	return v
}

func readFlags(fs *pflag.FlagSet) values {
	v := values{}
	fs.Visit(func(f *pflag.Flag) {
		s := byName(f.Name)
		if s == nil {
			return
		}
		if err := v.setText(s, f.Value.String()); err != nil {
			panic(fmt.Sprintf("flag --%s: %v", f.Name, err)) // pflag has parsed it
		}
	})
	return v
}
