package compat

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/lockcluster/lockcluster"
)

// CommandName is an Atlantis command, numbered as Atlantis stores it.
type CommandName int

// The commands.
const (
	CommandApply           CommandName = 0
	CommandPlan            CommandName = 1
	CommandUnlock          CommandName = 2
	CommandPolicyCheck     CommandName = 3
	CommandApprovePolicies CommandName = 4
	CommandAutoplan        CommandName = 5
	CommandVersion         CommandName = 6
	CommandImport          CommandName = 7
	CommandState           CommandName = 8
	CommandCancel          CommandName = 9
)

// autoplan prints "plan", as in Atlantis.
var commandNames = [...]string{
	"apply", "plan", "unlock", "policy_check", "approve_policies", "plan", "version", "import", "state", "cancel",
}

// String returns the name that Atlantis uses in keys, "" for an unknown one.
func (c CommandName) String() string {
	if c < 0 || int(c) >= len(commandNames) {
		return ""
	}
	return commandNames[c]
}

// ParseCommandName returns the command of that name. "plan" is
// [CommandPlan], never [CommandAutoplan].
func ParseCommandName(name string) (CommandName, error) {
	for i, n := range commandNames {
		if n == name {
			return CommandName(i), nil
		}
	}
	return 0, recordErrorf("unknown command: use apply, plan, unlock, policy_check, approve_policies, version, import, state or cancel")
}

const (
	commandKeyPrefix = "global/"
	commandKeySuffix = "/lock"
)

// CommandLockKey returns the Redis key of a command lock, "global/apply/lock".
func CommandLockKey(name string) string { return commandKeyPrefix + name + commandKeySuffix }

// ParseCommandLockKey returns the command's name in a Redis key; ok is false
// when the key is not that of a command lock.
func ParseCommandLockKey(key string) (name string, ok bool) {
	rest, ok := strings.CutPrefix(key, commandKeyPrefix)
	if !ok {
		return "", false
	}
	return ParseCommandLockBoltKey(rest)
}

// CommandLockBoltKey returns the BoltDB key of a command lock, "apply/lock".
func CommandLockBoltKey(name string) string { return name + commandKeySuffix }

// ParseCommandLockBoltKey returns the command's name in a BoltDB key.
func ParseCommandLockBoltKey(key string) (name string, ok bool) {
	name, ok = strings.CutSuffix(key, commandKeySuffix)
	return name, ok && name != "" && !strings.Contains(name, "/")
}

// CommandLockRecord is what a stored command lock says.
type CommandLockRecord struct {
	Command  CommandName
	LockedAt time.Time // whole seconds, UTC
}

// ParseCommandLock reads a command lock's value.
func ParseCommandLock(raw []byte) (CommandLockRecord, error) {
	if err := checkRecord(raw); err != nil {
		return CommandLockRecord{}, err
	}
	top, _ := readObject("", raw)
	if !top.has("CommandName") {
		return CommandLockRecord{}, recordErrorf("the value names no command (CommandName)")
	}
	n, err := top.integer("CommandName")
	if err != nil {
		return CommandLockRecord{}, err
	}
	c := CommandName(n)
	if int64(c) != n || c.String() == "" {
		return CommandLockRecord{}, recordErrorf("the value names an unknown command (CommandName)")
	}
	meta, err := top.object("LockMetadata")
	if err != nil {
		return CommandLockRecord{}, err
	}
	sec, err := meta.integer("UnixTime")
	if err != nil {
		return CommandLockRecord{}, err
	}
	return CommandLockRecord{Command: c, LockedAt: time.Unix(sec, 0).UTC()}, nil
}

// Request makes the request that the record stands for; value is what is
// stored with the lock.
func (r CommandLockRecord) Request(namespace string, value []byte) lockcluster.LockCommand {
	return lockcluster.LockCommand{
		Namespace: namespace, Name: r.Command.String(), LockedAt: r.LockedAt, Value: value,
	}
}

// NewCommandLockValue makes the value that Atlantis stores for a command lock.
func NewCommandLockValue(c CommandName, at time.Time) []byte {
	raw, err := json.Marshal(CommandLock{LockMetadata: CommandLockMetadata{UnixTime: at.Unix()}, CommandName: c})
	if err != nil {
		panic("compat: a command lock is always JSON: " + err.Error())
	}
	return raw
}
