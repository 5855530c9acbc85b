package history

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// RegisterOp is one call on one lock that is seen as a register: it holds the
// name of its holder or nothing. It is for doors whose answers have no log
// index, such as the Redis protocol, and for a second opinion.
type RegisterOp struct {
	Client string
	Key    string // registers with different keys are judged apart
	Invoke time.Duration
	Return time.Duration // not of an unknown call
	Kind   RegisterKind
	// Holder is who acquires, or whose lock a release means; "" releases
	// whoever holds it.
	Holder  string
	Outcome Outcome

	// What was answered.
	OK   bool   // acquired (or held by the caller before); released something
	Seen string // the holder that a get or a refused acquire was told; "" for a get: free
	// SeenUnknown: a refused acquire was not told whose lock it is.
	SeenUnknown bool
}

// RegisterKind is what a [RegisterOp] does.
type RegisterKind uint8

// The kinds.
const (
	RegisterAcquire RegisterKind = iota + 1
	RegisterRelease
	RegisterGet
)

// String describes the call in one line.
func (o RegisterOp) String() string {
	what := [...]string{"?", "acquire", "release", "get"}[o.Kind]
	if o.Outcome == Unknown {
		return fmt.Sprintf("%s [%v, unknown] %s %s for %q", o.Client, o.Invoke, what, o.Key, o.Holder)
	}
	return fmt.Sprintf("%s [%v, %v] %s %s for %q -> ok=%t seen=%q", o.Client, o.Invoke, o.Return, what, o.Key, o.Holder, o.OK, o.Seen)
}

// RegisterReport is the outcome of [CheckRegisters].
type RegisterReport struct {
	Keys       int
	Ops        int
	Undecided  []string // keys that took too long
	Violations []RegisterViolation
}

// RegisterViolation is a key whose calls no order explains.
type RegisterViolation struct {
	Key string
	Ops []RegisterOp // the shortest beginning of its history that is wrong, without what can be left out at its front
}

// Err returns the violations as one error, nil if there are none.
func (r *RegisterReport) Err() error {
	var errs []error
	for _, v := range r.Violations {
		text := fmt.Sprintf("lock %s: no order of these calls explains their answers", v.Key)
		for _, op := range v.Ops {
			text += "\n  " + op.String()
		}
		errs = append(errs, errors.New(text))
	}
	return errors.Join(errs...)
}

// CheckRegisters judges each key's calls with Porcupine, for at most limit per
// key. All locks are free at first.
func CheckRegisters(ops []RegisterOp, limit time.Duration) *RegisterReport {
	byKey := map[string][]RegisterOp{}
	for _, op := range ops {
		if op.Outcome == Failed || op.Outcome == Unknown && op.Kind == RegisterGet {
			continue
		}
		byKey[op.Key] = append(byKey[op.Key], op)
	}
	report := &RegisterReport{Keys: len(byKey)}
	keys := make([]string, 0, len(byKey))
	for key := range byKey {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		history := byKey[key]
		report.Ops += len(history)
		switch judge(history, limit) {
		case porcupine.Illegal:
			report.Violations = append(report.Violations, RegisterViolation{key, shortest(history, limit)})
		case porcupine.Unknown:
			report.Undecided = append(report.Undecided, key)
		}
	}
	return report
}

func judge(ops []RegisterOp, limit time.Duration) porcupine.CheckResult {
	history := make([]porcupine.Operation, len(ops))
	for i, op := range ops {
		history[i] = porcupine.Operation{ClientId: i, Input: op, Call: int64(op.Invoke), Return: int64(op.Return)}
		if op.Outcome == Unknown {
			history[i].Return = math.MaxInt64 // any time from now on, or never
		}
	}
	return porcupine.CheckOperationsTimeout(registerModel, history, limit)
}

// shortest returns a small part of a history that is wrong: its calls up to
// the first that makes it so, without those before it that are not needed.
func shortest(ops []RegisterOp, limit time.Duration) []RegisterOp {
	wrong := func(some []RegisterOp) bool { return judge(some, limit) == porcupine.Illegal }
	end := func(op RegisterOp) time.Duration {
		if op.Outcome == Unknown {
			return math.MaxInt64
		}
		return op.Return
	}
	ops = slices.Clone(ops)
	slices.SortStableFunc(ops, func(a, b RegisterOp) int { return int(a.Invoke - b.Invoke) })
	// The calls that had returned when the first wrong answer came, and those
	// under way then, whose answers had not come yet.
	returns := make([]time.Duration, 0, len(ops))
	for _, op := range ops {
		if op.Outcome != Unknown {
			returns = append(returns, op.Return)
		}
	}
	slices.Sort(returns)
	until := func(at time.Duration) []RegisterOp {
		var some []RegisterOp
		for _, op := range ops {
			if op.Invoke > at {
				break
			}
			if end(op) > at {
				op.Outcome, op.Return = Unknown, 0
			}
			if op.Outcome == Done || op.Kind != RegisterGet {
				some = append(some, op)
			}
		}
		return some
	}
	low, high := 0, len(returns)-1
	for low < high { // more answers never make a wrong history right
		if mid := (low + high) / 2; wrong(until(returns[mid])) {
			high = mid
		} else {
			low = mid + 1
		}
	}
	if len(returns) == 0 || !wrong(until(returns[low])) {
		return ops
	}
	return slim(until(returns[low]), limit)
}

// slim leaves out what a wrong history does not need: a beginning after which
// nothing was under way, if the rest is wrong whoever holds the lock then, and
// calls that changed nothing. Of the beginning the calls with an unknown
// outcome stay.
func slim(ops []RegisterOp, limit time.Duration) []RegisterOp {
	for cut := len(ops) - 1; cut > 0; cut-- {
		var rest []RegisterOp
		quiet := true
		for _, op := range ops[:cut] {
			if op.Outcome == Unknown {
				rest = append(rest, op)
			} else if op.Return >= ops[cut].Invoke {
				quiet = false
			}
		}
		if rest = append(rest, ops[cut:]...); quiet && wrongFromAnywhere(rest, limit) {
			ops = rest
			break
		}
	}
	for i := 0; i < len(ops) && len(ops) > 1 && len(ops) <= shrinkMax; {
		idle := ops[i].Outcome == Done && (ops[i].Kind == RegisterGet || !ops[i].OK)
		if rest := slices.Delete(slices.Clone(ops), i, i+1); idle && wrongFromAnywhere(rest, limit) {
			ops = rest
		} else {
			i++
		}
	}
	return ops
}

// shrinkMax bounds the histories that are made smaller call by call.
const shrinkMax = 60

// wrongFromAnywhere reports whether calls are wrong whoever holds the lock at
// first.
func wrongFromAnywhere(ops []RegisterOp, limit time.Duration) bool {
	holders := []string{""}
	for _, op := range ops {
		for _, h := range []string{op.Holder, op.Seen} {
			if !slices.Contains(holders, h) {
				holders = append(holders, h)
			}
		}
	}
	begin := ops[0].Invoke // they are sorted
	for _, h := range holders {
		with := ops
		if h != "" {
			first := RegisterOp{Kind: RegisterAcquire, Holder: h, Outcome: Done, OK: true, Invoke: begin - 2, Return: begin - 1}
			with = append([]RegisterOp{first}, ops...)
		}
		if judge(with, limit) != porcupine.Illegal {
			return false
		}
	}
	return true
}

// registerModel is a lock that holds its holder's name. A call of unknown
// outcome may have had its effect or not.
var registerModel = (&porcupine.NondeterministicModel{
	Init: func() []any { return []any{""} },
	Step: func(state, input, _ any) []any {
		holder, op := state.(string), input.(RegisterOp)
		after, fits := op.step(holder)
		switch {
		case op.Outcome == Unknown && after != holder:
			return []any{holder, after}
		case op.Outcome == Unknown:
			return []any{holder}
		case fits:
			return []any{after}
		}
		return nil
	},
	DescribeOperation: func(input, _ any) string { return input.(RegisterOp).String() },
}).ToModel()

// step returns who holds the lock after the call, and whether its answer is right.
func (o RegisterOp) step(holder string) (after string, fits bool) {
	switch o.Kind {
	case RegisterAcquire:
		if holder == "" || holder == o.Holder {
			return o.Holder, o.OK
		}
		return holder, !o.OK && (o.SeenUnknown || o.Seen == holder)
	case RegisterRelease:
		if holder == "" || o.Holder != "" && o.Holder != holder {
			return holder, !o.OK
		}
		return "", o.OK
	default:
		return holder, o.Seen == holder
	}
}
