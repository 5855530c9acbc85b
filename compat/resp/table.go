package resp

// flag says what a command is like.
type flag uint16

const (
	flagWrite   flag = 1 << iota // changes something
	flagNoAuth                   // may be sent before AUTH
	flagKeyless                  // needs no state
	flagList                     // reads much: over a snapshot
	flagScript                   // has the time limit of scripts
)

// command is one Redis command.
type command struct {
	name  string
	arity int // how many words with the name; negative: at least
	flags flag
	// keys: index of the first and last key and the step, as COMMAND INFO says.
	keys [3]int
	// conn runs it for a connection; nil: data does.
	conn func(c *conn, args [][]byte) reply
	// data runs it over a session; scripts may call it. nil: they may not.
	data func(s *session, args [][]byte) reply

	index int // in the metrics
}

func (c *command) takes(words int) bool {
	if c.arity < 0 {
		return words >= -c.arity
	}
	return words == c.arity
}

func commandName(c *command) string {
	if c == nil {
		return "unknown"
	}
	return c.name
}

var (
	oneKey  = [3]int{1, 1, 1}
	allKeys = [3]int{1, -1, 1}
	noKeys  = [3]int{}
)

// commandList is everything that the door understands.
func commandList() []command {
	return []command{
		{name: "get", arity: 2, keys: oneKey, conn: cmdGet, data: dataGet},
		{name: "set", arity: -3, flags: flagWrite, keys: oneKey, conn: cmdSet, data: dataSet},
		{name: "del", arity: -2, flags: flagWrite, keys: allKeys, conn: cmdDel, data: dataDel},
		{name: "unlink", arity: -2, flags: flagWrite, keys: allKeys, conn: cmdDel, data: dataDel},
		{name: "setnx", arity: 3, flags: flagWrite, keys: oneKey, conn: cmdSetNX, data: dataSetNX},
		{name: "setex", arity: 4, flags: flagWrite, keys: oneKey, conn: cmdSetEX, data: dataSetEX},
		{name: "psetex", arity: 4, flags: flagWrite, keys: oneKey, conn: cmdSetEX, data: dataSetEX},
		{name: "getset", arity: 3, flags: flagWrite, keys: oneKey, conn: cmdGetSet, data: dataGetSet},
		{name: "getdel", arity: 2, flags: flagWrite, keys: oneKey, conn: cmdGetDel, data: dataGetDel},
		{name: "mget", arity: -2, keys: allKeys, conn: cmdMGet, data: dataMGet},
		{name: "strlen", arity: 2, keys: oneKey, data: dataStrlen},
		{name: "exists", arity: -2, keys: allKeys, data: dataExists},
		{name: "type", arity: 2, keys: oneKey, data: dataType},
		{name: "expire", arity: -3, flags: flagWrite, keys: oneKey, data: dataExpire},
		{name: "pexpire", arity: -3, flags: flagWrite, keys: oneKey, data: dataExpire},
		{name: "expireat", arity: -3, flags: flagWrite, keys: oneKey, data: dataExpire},
		{name: "pexpireat", arity: -3, flags: flagWrite, keys: oneKey, data: dataExpire},
		{name: "persist", arity: 2, flags: flagWrite, keys: oneKey, data: dataPersist},
		{name: "ttl", arity: 2, keys: oneKey, data: dataTTL},
		{name: "pttl", arity: 2, keys: oneKey, data: dataTTL},
		{name: "expiretime", arity: 2, keys: oneKey, data: dataTTL},
		{name: "pexpiretime", arity: 2, keys: oneKey, data: dataTTL},
		{name: "keys", arity: 2, flags: flagList, keys: noKeys, data: dataKeys},
		{name: "scan", arity: -2, flags: flagList, keys: noKeys, data: dataScan},
		{name: "dbsize", arity: 1, flags: flagList, keys: noKeys, data: dataDBSize},
		{name: "time", arity: 1, flags: flagKeyless, keys: noKeys, data: dataTime},
		{name: "echo", arity: 2, flags: flagKeyless, keys: noKeys, data: dataEcho},
		{name: "ping", arity: -1, flags: flagKeyless, keys: noKeys, data: dataPing},

		{name: "eval", arity: -3, flags: flagWrite | flagScript, keys: noKeys, conn: cmdEval},
		{name: "evalsha", arity: -3, flags: flagWrite | flagScript, keys: noKeys, conn: cmdEval},
		{name: "eval_ro", arity: -3, flags: flagScript, keys: noKeys, conn: cmdEval},
		{name: "evalsha_ro", arity: -3, flags: flagScript, keys: noKeys, conn: cmdEval},
		{name: "script", arity: -2, keys: noKeys, conn: cmdScript},

		{name: "hello", arity: -1, flags: flagNoAuth, keys: noKeys, conn: cmdHello},
		{name: "auth", arity: -2, flags: flagNoAuth, keys: noKeys, conn: cmdAuth},
		{name: "quit", arity: -1, flags: flagNoAuth, keys: noKeys, conn: cmdQuit},
		{name: "reset", arity: 1, flags: flagNoAuth, keys: noKeys, conn: cmdReset},
		{name: "select", arity: 2, keys: noKeys, conn: cmdSelect},
		{name: "client", arity: -2, keys: noKeys, conn: cmdClient},
		{name: "command", arity: -1, keys: noKeys, conn: cmdCommand},
		{name: "info", arity: -1, keys: noKeys, conn: cmdInfo},
		{name: "cluster", arity: -2, keys: noKeys, conn: cmdCluster},
		{name: "readonly", arity: 1, keys: noKeys, conn: cmdOK},
		{name: "readwrite", arity: 1, keys: noKeys, conn: cmdOK},
		{name: "asking", arity: 1, keys: noKeys, conn: cmdOK},

		{name: "flushall", arity: -1, keys: noKeys, conn: cmdFlush},
		{name: "flushdb", arity: -1, keys: noKeys, conn: cmdFlush},
		{name: "config", arity: -2, keys: noKeys, conn: cmdConfig},
		{name: "debug", arity: -2, keys: noKeys, conn: cmdDebug},
	}
}

// commandTable is the commands by name. It never changes.
type commandTable map[string]*command

func newCommandTable() commandTable {
	list := commandList()
	t := make(commandTable, len(list))
	for i := range list {
		list[i].index = i + 1
		t[list[i].name] = &list[i]
	}
	return t
}

// lookup finds a command by its name in any case; nil if there is none.
func (t commandTable) lookup(word []byte) *command {
	var lower [16]byte
	if len(word) > len(lower) {
		return nil
	}
	for i, c := range word {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower[i] = c
	}
	return t[string(lower[:len(word)])]
}
