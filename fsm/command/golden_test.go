package command_test

import (
	"bytes"
	"encoding/hex"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/command"
	"github.com/lockcluster/lockcluster/fsm/command/logpb"
)

// update rewrites the golden files. A change of their bytes makes logs of
// released versions unreadable: do it for new files only.
var update = flag.Bool("update", false, "rewrite the golden files")

// TestGoldenCommands: each request has the bytes in the log that it always had,
// and those bytes mean the same request.
func TestGoldenCommands(t *testing.T) {
	for name, req := range allSamples() {
		t.Run(name, func(t *testing.T) {
			got, err := command.EncodeCommand(sampleID, req)
			if err != nil {
				t.Fatal(err)
			}
			want := golden(t, "command-"+name, got)
			c, err := command.DecodeCommand(want)
			if err != nil {
				t.Fatal(err)
			}
			if c.ID != sampleID || !sameRequest(c.Request, req) {
				t.Errorf("decoded\n%+v, want\n%+v", c, req)
			}
		})
	}
}

// TestGoldenEntry: the envelope around all commands keeps its bytes.
func TestGoldenEntry(t *testing.T) {
	got := sampleEntry(t)
	entry, err := command.DecodeEntry(golden(t, "entry", got))
	if err != nil {
		t.Fatal(err)
	}
	if len(entry.Commands) != len(sampleRequests()) || entry.Time.UnixMilli() != sampleTime.UnixMilli() {
		t.Errorf("decoded %d commands at %s", len(entry.Commands), entry.Time)
	}
	for i, name := range slices.Sorted(maps.Keys(sampleRequests())) {
		if !sameRequest(entry.Commands[i].Request, sampleRequests()[name]) {
			t.Errorf("%s: decoded %+v", name, entry.Commands[i].Request)
		}
	}
}

// TestGoldenResult: a remembered answer keeps its bytes and its meaning.
func TestGoldenResult(t *testing.T) {
	got, err := command.EncodeResult(sampleResult())
	if err != nil {
		t.Fatal(err)
	}
	res, err := command.DecodeResult(golden(t, "result", got))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := command.EncodeResult(res); err != nil || !bytes.Equal(again, got) {
		t.Errorf("decoded and encoded again it differs: %v", err)
	}
	homed, err := command.EncodeResult(lockcluster.Result{Status: lockcluster.StatusHeld, Lock: sampleLock()})
	if err != nil {
		t.Fatal(err)
	}
	again, err := command.DecodeResult(golden(t, "result-home", homed))
	if err != nil || again.Lock.Home != sampleHome {
		t.Errorf("home %+v, %v; want %+v", again.Lock.Home, err, sampleHome)
	}
	if !res.Lock.AcquiredAt.Equal(sampleTime) || res.Lock.AcquiredAt.Format("-0700") != "+0230" {
		t.Errorf("time %s, want %s", res.Lock.AcquiredAt, sampleTime)
	}
}

// TestSamplesSetEveryField: no message of the log's schema has a field that
// the golden files do not cover.
func TestSamplesSetEveryField(t *testing.T) {
	seen := map[protoreflect.FullName]bool{}
	for name, req := range allSamples() {
		b, err := command.EncodeCommand(sampleID, req)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		collect(t, b, &logpb.Command{}, seen)
	}
	b, err := command.EncodeResult(sampleResult())
	if err != nil {
		t.Fatal(err)
	}
	collect(t, b, &logpb.Result{}, seen)
	collect(t, sampleEntry(t)[envelopeSize:], &logpb.Entry{}, seen)
	messages := logpb.File_fsm_command_command_proto.Messages()
	for i := range messages.Len() {
		fields := messages.Get(i).Fields()
		for j := range fields.Len() {
			if name := fields.Get(j).FullName(); !seen[name] {
				t.Errorf("field %s is in no golden file", name)
			}
		}
	}
}

func collect(t *testing.T, b []byte, m proto.Message, seen map[protoreflect.FullName]bool) {
	t.Helper()
	if err := proto.Unmarshal(b, m); err != nil {
		t.Fatal(err)
	}
	var walk func(protoreflect.Message)
	walk = func(m protoreflect.Message) {
		m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
			seen[f.FullName()] = true
			switch {
			case f.Message() == nil:
			case f.IsList():
				for i := range v.List().Len() {
					walk(v.List().Get(i).Message())
				}
			default:
				walk(v.Message())
			}
			return true
		})
	}
	walk(m.ProtoReflect())
}

func sampleEntry(tb testing.TB) []byte {
	tb.Helper()
	var commands [][]byte
	for _, name := range slices.Sorted(maps.Keys(sampleRequests())) {
		b, err := command.EncodeCommand(sampleID, sampleRequests()[name])
		if err != nil {
			tb.Fatal(err)
		}
		commands = append(commands, b)
	}
	entry, err := command.EncodeEntry(sampleTime, commands)
	if err != nil {
		tb.Fatal(err)
	}
	return entry
}

// sameRequest compares what the log keeps: of a time the instant and the offset.
func sameRequest(a, b lockcluster.Request) bool {
	x, errX := command.EncodeCommand(sampleID, a)
	y, errY := command.EncodeCommand(sampleID, b)
	return errX == nil && errY == nil && bytes.Equal(x, y) && reflect.TypeOf(a) == reflect.TypeOf(b)
}

// golden returns the bytes of a golden file and requires that they are got.
func golden(tb testing.TB, name string, got []byte) []byte {
	tb.Helper()
	path := filepath.Join("testdata", "golden", name+".hex")
	if *update {
		var text strings.Builder
		for line := range slices.Chunk(got, 32) {
			text.WriteString(hex.EncodeToString(line) + "\n")
		}
		if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
			tb.Fatal(err)
		}
	}
	want := readGolden(tb, path)
	if !bytes.Equal(got, want) {
		tb.Fatalf("%s: the encoded form has changed; logs of earlier versions would be read wrongly.\n got %x\nwant %x", path, got, want)
	}
	return want
}

func readGolden(tb testing.TB, path string) []byte {
	tb.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	b, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		tb.Fatalf("%s: %v", path, err)
	}
	return b
}
