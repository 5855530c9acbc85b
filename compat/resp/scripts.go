package resp

import (
	"context"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/lockcluster/lockcluster/compat/resp/script"
)

const (
	// The script cache's bounds.
	scriptsMax     = 10_000
	scriptBytesMax = 32 << 20
)

// scriptCache keeps the scripts that this node has seen. When it is full the
// oldest go; their senders get NOSCRIPT and send the text again.
type scriptCache struct {
	running chan struct{} // one token for each script that runs

	mu    sync.Mutex // guards what follows
	bySHA map[string]*script.Script
	order []*script.Script
	bytes int
}

func newScriptCache() *scriptCache {
	return &scriptCache{running: make(chan struct{}, max(4, 2*runtime.GOMAXPROCS(0))), bySHA: map[string]*script.Script{}}
}

func (s *scriptCache) get(sha string) *script.Script {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bySHA[sha]
}

// load compiles a text, unless it is known.
func (s *scriptCache) load(text string) (*script.Script, error) {
	sha := script.Digest(text)
	if found := s.get(sha); found != nil {
		return found, nil
	}
	compiled, err := script.Compile(text)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if found := s.bySHA[sha]; found != nil {
		return found, nil
	}
	s.bySHA[sha] = compiled
	s.order = append(s.order, compiled)
	s.bytes += len(text)
	for len(s.order) > scriptsMax || s.bytes > scriptBytesMax {
		oldest := s.order[0]
		s.order[0] = nil
		s.order = s.order[1:]
		s.bytes -= len(oldest.Text)
		delete(s.bySHA, oldest.SHA)
	}
	return compiled, nil
}

func (s *scriptCache) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bySHA, s.order, s.bytes = map[string]*script.Script{}, nil, 0
}

// cmdScript answers SCRIPT LOAD, EXISTS and FLUSH, for this node.
func cmdScript(c *conn, args [][]byte) reply {
	switch sub := asciiLower(args[1]); {
	case sub == "load" && len(args) == 3:
		sc, err := c.s.scripts.load(string(args[2]))
		if err != nil {
			return compileError(err)
		}
		return bulkText(sc.SHA)
	case sub == "exists" && len(args) >= 3:
		out := reply{kind: kindArray}
		for _, sha := range args[2:] {
			out.items = append(out.items, boolInt(c.s.scripts.get(asciiLower(sha)) != nil))
		}
		return out
	case sub == "flush" && len(args) <= 3:
		c.s.scripts.flush()
		return replyOK
	case sub == "help" && len(args) == 2:
		return array(status("SCRIPT EXISTS | FLUSH | LOAD"))
	case sub == "load" || sub == "exists" || sub == "flush":
		return wrongArgs("script|" + sub)
	}
	return unknownSubcommand("SCRIPT", args[1])
}

func compileError(err error) reply {
	return errorf("ERR Error compiling script (new function): %s", err)
}

// cmdEval answers EVAL, EVALSHA and their read-only forms.
func cmdEval(c *conn, args [][]byte) reply {
	word := asciiLower(args[0])
	n, err := strconv.Atoi(string(args[2]))
	switch {
	case err != nil:
		return errReply(textNotInt)
	case n < 0:
		return errReply("ERR Number of keys can't be negative")
	case n > len(args)-3:
		return errReply("ERR Number of keys can't be greater than number of args")
	}
	var sc *script.Script
	if word == "evalsha" || word == "evalsha_ro" {
		if sc = c.s.scripts.get(asciiLower(args[1])); sc == nil {
			return errReply(textNoScript)
		}
	} else if sc, err = c.s.scripts.load(string(args[1])); err != nil {
		return compileError(err)
	}
	readOnly := word == "eval_ro" || word == "evalsha_ro"
	return c.eval(sc, args[3:3+n], args[3+n:], readOnly)
}

// eval runs a script until its transaction is committed, or its time is over.
// The time of the script is its own; what it asks of the system waits for a
// leader no longer than any other command.
func (c *conn) eval(sc *script.Script, keys, args [][]byte, readOnly bool) reply {
	select {
	case c.s.scripts.running <- struct{}{}:
		defer func() { <-c.s.scripts.running }()
	default:
		if !c.waitForTurn() {
			return errReply("TRYAGAIN too many scripts are running; nothing was changed, try again")
		}
		defer func() { <-c.s.scripts.running }()
	}
	limited, stop := context.WithDeadlineCause(c.s.ctx, c.now.Add(c.s.cfg.ScriptLimit), script.ErrTime)
	defer stop()
	ctx, cancel := context.WithCancelCause(limited)
	defer cancel(nil)
	defer c.s.memory.Begin(cancel)()
	first := []byte(sc.SHA)
	if len(keys) > 0 {
		first = keys[0]
	}
	return c.attempts(first, func() (reply, bool) {
		c.renew()
		view, err := c.s.sys.View(&c.request)
		if err != nil {
			return failure(err, false), true
		}
		s := c.session(view)
		s.now = time.Now()
		s.tx = newTx(view, s.now, readOnly)
		h := &host{c: c, s: s}
		out := sc.Run(ctx, h, keys, args)
		if s.tx.full {
			return errReply(errTxFull), true
		}
		c.renew()
		return c.commit(s, fromScript(&out))
	})
}

// waitForTurn waits until another script may run.
func (c *conn) waitForTurn() bool {
	select {
	case c.s.scripts.running <- struct{}{}:
		return true
	case <-c.request.Done():
		return false
	}
}

// host lets a script call commands over a session.
type host struct {
	c *conn
	s *session
}

// Call implements [script.Host].
func (h *host) Call(words []string) script.Reply {
	args := make([][]byte, len(words))
	for i, w := range words {
		args[i] = []byte(w)
	}
	cmd := h.c.s.table.lookup(args[0])
	switch {
	case cmd == nil:
		return scriptError("ERR Unknown Redis command called from script")
	case !cmd.takes(len(args)):
		return scriptError("ERR Wrong number of args calling Redis command from script")
	case cmd.data == nil:
		return scriptError("ERR This Redis command is not allowed from script")
	case cmd.flags&flagWrite != 0 && h.s.tx.readOnly:
		return scriptError(textReadOnly)
	}
	rep := cmd.data(h.s, args)
	if h.s.tx.full {
		return scriptError(errTxFull)
	}
	return toScript(&rep)
}

// Log implements [script.Host]. What a script logs may hold values: our log
// only tells that it did.
func (h *host) Log(level int, text string) {
	h.c.s.log.Debug("script called redis.log", "conn", h.c.id, "level", level, "bytes", len(text))
}

func scriptError(text string) script.Reply { return script.Reply{Kind: script.Error, Text: text} }

// toScript hands an answer to a script.
func toScript(r *reply) script.Reply {
	switch r.kind {
	case kindStatus:
		return script.Reply{Kind: script.Status, Text: r.text}
	case kindError:
		return scriptError(r.text)
	case kindInt:
		return script.Reply{Kind: script.Int, Int: r.num}
	case kindBulk:
		if r.data != nil {
			return script.Reply{Kind: script.Bulk, Text: string(r.data)}
		}
		return script.Reply{Kind: script.Bulk, Text: r.text}
	case kindArray, kindMap:
		out := script.Reply{Kind: script.Array, Items: make([]script.Reply, len(r.items))}
		for i := range r.items {
			out.Items[i] = toScript(&r.items[i])
		}
		return out
	case kindKeys:
		out := script.Reply{Kind: script.Array, Items: make([]script.Reply, len(r.keys))}
		for i, k := range r.keys {
			out.Items[i] = script.Reply{Kind: script.Bulk, Text: k}
		}
		return out
	case kindNull, kindSent:
	}
	return script.Reply{}
}

// fromScript takes a script's answer.
func fromScript(r *script.Reply) reply {
	switch r.Kind {
	case script.Status:
		return status(r.Text)
	case script.Error:
		return errReply(r.Text)
	case script.Int:
		return integer(r.Int)
	case script.Bulk:
		return bulkText(r.Text)
	case script.Array:
		out := reply{kind: kindArray, items: make([]reply, len(r.Items))}
		for i := range r.Items {
			out.items[i] = fromScript(&r.Items[i])
		}
		return out
	case script.Nil:
	}
	return replyNull
}
