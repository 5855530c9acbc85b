package resp

import (
	"net"
	"strconv"
	"time"
)

const (
	// spillSize is how much may be gathered before it is sent.
	spillSize = 64 << 10
	// keepSize is how large a buffer an idle connection may keep.
	keepSize = 16 << 10
)

// writer gathers the answers of one pipeline. It is for the connection's own
// goroutine. The first error stays; later answers go nowhere.
type writer struct {
	conn  net.Conn
	b     []byte
	resp3 bool
	limit time.Duration
	err   error
}

// bulk appends a bulk string; a large one is sent from where it is.
func (w *writer) bulk(data []byte) {
	if need := len(w.b) + len(data); need > keepSize && need > cap(w.b) && cap(w.b) < spillSize+keepSize {
		// Once to the size that it may have, in place of many doublings.
		w.b = append(make([]byte, 0, spillSize+keepSize), w.b...)
	}
	w.b = append(w.b, '$')
	w.b = strconv.AppendInt(w.b, int64(len(data)), 10)
	w.b = append(w.b, '\r', '\n')
	if len(data) >= spillSize {
		w.send(net.Buffers{w.b, data})
		w.b = w.b[:0]
	} else {
		w.b = append(w.b, data...)
	}
	w.b = append(w.b, '\r', '\n')
}

// spill sends what is gathered when it is much. More is to come, so the buffer
// stays.
func (w *writer) spill() {
	if len(w.b) >= spillSize {
		w.send(net.Buffers{w.b})
		w.b = w.b[:0]
	}
}

// flush sends what is gathered.
func (w *writer) flush() error {
	if len(w.b) > 0 {
		w.send(net.Buffers{w.b})
		w.b = w.b[:0]
		if cap(w.b) > keepSize {
			w.b = nil
		}
	}
	return w.err
}

func (w *writer) send(bufs net.Buffers) {
	if w.err != nil {
		return
	}
	if w.err = w.conn.SetWriteDeadline(time.Now().Add(w.limit)); w.err != nil {
		return
	}
	if len(bufs) == 1 {
		_, w.err = w.conn.Write(bufs[0])
		return
	}
	_, w.err = bufs.WriteTo(w.conn)
}
