package state

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/command"
	"github.com/lockcluster/lockcluster/fsm/state/statepb"
)

// How long answers are remembered. An answer goes when its client has
// acknowledged it (RIFL, Lee et al., SOSP 2015), or when it is older than
// answerAgeMin by the leaders' wall clocks and not among the answersMin newest.
// Past the hard bounds the oldest go whatever their age, but never the
// answersMin newest.
const (
	answerAgeMin      = 24 * time.Hour
	answersMin        = 100_000
	answersMax        = 1_000_000
	answersSizeMax    = 512 << 20
	clientsMax        = 200_000
	evictionsPerEntry = 16 // per command, so that one entry never does much extra work
	// ackedStep is how far a client's acknowledgement must move before its
	// answers are dropped: it saves a write per request.
	ackedStep = 32
	// dropsPerCommand bounds how many acknowledged answers one command drops.
	dropsPerCommand = 1024
)

// once returns the remembered answer of id, or lets decide answer and
// remembers that.
func (a *Applier) once(id lockcluster.RequestID, decide func() lockcluster.Result) lockcluster.Result {
	if now := a.env.Now.UnixMilli(); now > a.books.ClockUnixMs {
		a.books.ClockUnixMs = now // the clock of remembered answers never runs backwards
	}
	client, known := a.client(id.ClientID)
	if id.Sequence < client.GetAckedBelow() {
		return lockcluster.Result{
			Status: lockcluster.StatusForgotten, Index: a.env.Index,
			Text: "the client acknowledged this request's answer before; it was not applied again",
		}
	}
	key := answerKey(id.ClientID, id.Sequence)
	var rec statepb.AnswerRecord
	if get(a.tx, key, &rec) {
		res, err := command.DecodeResult(rec.GetResult())
		if err != nil {
			panic(fmt.Sprintf("remembered answer: %v", err))
		}
		return res
	}
	res := decide()
	a.remember(id, key, res)
	a.acknowledge(id, client, known)
	a.evict()
	return res
}

func (a *Applier) client(id string) (*statepb.ClientRecord, bool) {
	rec := &statepb.ClientRecord{}
	return rec, get(a.tx, clientKey(id), rec)
}

func (a *Applier) remember(id lockcluster.RequestID, key string, res lockcluster.Result) {
	b, err := command.EncodeResult(res)
	if err != nil {
		panic(fmt.Sprintf("encode answer: %v", err))
	}
	a.books.NextOrder++
	rec := encode(&statepb.AnswerRecord{Order: a.books.NextOrder, TimeUnixMs: a.books.ClockUnixMs, Result: b})
	a.tx.Put(key, rec)
	a.tx.Put(answerOrderKey(a.books.NextOrder), []byte(key))
	a.books.Count++
	a.books.SizeBytes += uint64(len(rec) + len(key))
}

// acknowledge drops the answers that the client will never ask for again.
func (a *Applier) acknowledge(id lockcluster.RequestID, client *statepb.ClientRecord, known bool) {
	acked := min(id.AckedBelow, id.Sequence)
	if acked < client.AckedBelow+ackedStep {
		return
	}
	prefix := answerPrefix(id.ClientID)
	var keys []string
	a.tx.Scan(prefix, answerKey(id.ClientID, client.AckedBelow), func(key string, _ []byte) bool {
		seq := binary.BigEndian.Uint64([]byte(key[len(prefix):]))
		if seq >= acked {
			return false
		}
		if len(keys) == dropsPerCommand {
			acked = seq // the rest goes with a later command
			return false
		}
		keys = append(keys, key)
		return true
	})
	for _, key := range keys {
		a.forget(key)
	}
	if known {
		a.tx.Delete(clientOrderKey(client.Order))
	} else {
		a.books.Clients++
	}
	a.putClient(id.ClientID, client, acked)
}

// putClient stores what the client has acknowledged, as the client seen last.
func (a *Applier) putClient(id string, client *statepb.ClientRecord, acked uint64) {
	a.books.NextOrder++
	client.AckedBelow, client.Order, client.TimeUnixMs = acked, a.books.NextOrder, a.books.ClockUnixMs
	a.tx.Put(clientKey(id), encode(client))
	a.tx.Put(clientOrderKey(client.Order), []byte(id))
}

func (a *Applier) forget(key string) {
	b, ok := a.tx.Get(key)
	if !ok {
		panic("remembered answer is gone")
	}
	var rec statepb.AnswerRecord
	decode(key, b, &rec)
	a.tx.Delete(key)
	a.tx.Delete(answerOrderKey(rec.GetOrder()))
	a.books.Count--
	a.books.SizeBytes -= uint64(len(b) + len(key))
}

// evict drops the oldest answers and clients that need not be kept.
func (a *Applier) evict() {
	deadline := a.books.ClockUnixMs - answerAgeMin.Milliseconds()
	for range evictionsPerEntry {
		if a.books.Count <= answersMin {
			break
		}
		_, key := a.oldest(tableAnswerOrder)
		var rec statepb.AnswerRecord
		if !get(a.tx, string(key), &rec) {
			panic("answer order without its answer")
		}
		over := a.books.Count > answersMax || a.books.SizeBytes > answersSizeMax
		if !over && rec.GetTimeUnixMs() > deadline {
			break
		}
		a.forget(string(key))
	}
	for range evictionsPerEntry {
		if a.books.Clients == 0 {
			break
		}
		orderKey, id := a.oldest(tableClientOrder)
		client, known := a.client(string(id))
		if !known {
			panic("client order without its client")
		}
		if a.books.Clients <= clientsMax && client.GetTimeUnixMs() > deadline {
			break
		}
		a.tx.Delete(orderKey)
		a.tx.Delete(clientKey(string(id)))
		a.books.Clients--
	}
}

// oldest returns the first record of an order table, which is not empty.
func (a *Applier) oldest(table byte) (key string, value []byte) {
	a.tx.Scan(string(rune(table)), "", func(k string, v []byte) bool {
		key, value = k, v
		return false
	})
	if key == "" {
		panic("order table is empty")
	}
	return key, value
}
