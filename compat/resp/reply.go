package resp

import (
	"strconv"

	"github.com/tidwall/redcon"
)

// kind is the type of a reply.
type kind uint8

const (
	kindNull   kind = 0
	kindStatus kind = 1
	kindError  kind = 2
	kindInt    kind = 3
	kindBulk   kind = 4 // data, or text when data is nil
	kindArray  kind = 5 // items
	kindMap    kind = 6 // items, name and value in turn; an array in RESP2
	kindKeys   kind = 7 // keys: an array of bulk strings
	kindSent   kind = 8 // written already
)

// reply is the answer to one command. Commands return it, so that a script
// and a connection can share them.
type reply struct {
	kind  kind
	num   int64
	text  string
	data  []byte
	items []reply
	keys  []string
}

var (
	replyNull = reply{}
	replyOK   = reply{kind: kindStatus, text: "OK"}
	replySent = reply{kind: kindSent}
)

func status(text string) reply   { return reply{kind: kindStatus, text: text} }
func errReply(text string) reply { return reply{kind: kindError, text: text} }
func integer(n int64) reply      { return reply{kind: kindInt, num: n} }
func bulk(data []byte) reply {
	if data == nil {
		data = []byte{}
	}
	return reply{kind: kindBulk, data: data}
}
func bulkText(text string) reply   { return reply{kind: kindBulk, text: text} }
func array(items ...reply) reply   { return reply{kind: kindArray, items: items} }
func mapping(pairs ...reply) reply { return reply{kind: kindMap, items: pairs} }

func boolInt(yes bool) reply {
	if yes {
		return integer(1)
	}
	return integer(0)
}

func (r *reply) isError() bool { return r.kind == kindError }

// write appends r in the connection's protocol. Large values and long lists
// go out in pieces, so that the buffer stays small.
func (w *writer) write(r *reply) {
	switch r.kind {
	case kindNull:
		w.null()
	case kindStatus:
		w.b = redcon.AppendString(w.b, r.text)
	case kindError:
		w.b = redcon.AppendError(w.b, clean(r.text))
	case kindInt:
		w.b = redcon.AppendInt(w.b, r.num)
	case kindBulk:
		if r.data != nil {
			w.bulk(r.data)
		} else {
			w.b = redcon.AppendBulkString(w.b, r.text)
		}
	case kindArray:
		w.b = redcon.AppendArray(w.b, len(r.items))
		w.all(r.items)
	case kindMap:
		if w.resp3 {
			w.b = append(w.b, '%')
			w.b = strconv.AppendInt(w.b, int64(len(r.items)/2), 10)
			w.b = append(w.b, '\r', '\n')
		} else {
			w.b = redcon.AppendArray(w.b, len(r.items))
		}
		w.all(r.items)
	case kindKeys:
		w.b = redcon.AppendArray(w.b, len(r.keys))
		for _, k := range r.keys {
			w.b = redcon.AppendBulkString(w.b, k)
			w.spill()
		}
	case kindSent:
	}
	w.spill()
}

func (w *writer) all(items []reply) {
	for i := range items {
		w.write(&items[i])
	}
}

func (w *writer) null() {
	if w.resp3 {
		w.b = append(w.b, '_', '\r', '\n')
		return
	}
	w.b = redcon.AppendNull(w.b)
}
