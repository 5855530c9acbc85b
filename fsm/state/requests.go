package state

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/command"
	"github.com/lockcluster/lockcluster/fsm/state/statepb"
)

// limits say how long answers are remembered. An answer goes when its client
// has acknowledged it (RIFL, Lee et al., SOSP 2015), or when it is older than
// ageMin by the leaders' wall clocks and not among the newest answersMin. Past
// answersMax the oldest go whatever their age; past sizeMax whatever their
// number too, because memory is the one bound that cannot give way.
//
// The limits decide what the state is, so they are part of the log's contract:
// every node must have the same. Only tests of this package set others.
type limits struct {
	ageMin     time.Duration
	answersMin uint64
	answersMax uint64
	sizeMax    uint64 // bytes of remembered answers
	clientsMax uint64
	// evictions bounds how many answers and clients one command drops, so that
	// no command does much extra work; drops does so for acknowledged answers.
	evictions int
	drops     int
	// ackedStep is how far a client's acknowledgement must move before its
	// answers are dropped: it saves a write per request.
	ackedStep uint64
}

func standardLimits() limits {
	return limits{
		ageMin: 24 * time.Hour, answersMin: 100_000, answersMax: 1_000_000, sizeMax: 512 << 20,
		clientsMax: 200_000, evictions: 16, drops: 1024, ackedStep: 32,
	}
}

// errOtherRequest is the answer to a client that numbers two requests alike.
// The first one's answer would tell it of locks that it never asked for.
var errOtherRequest = fmt.Errorf("%w: this request id was used for another request; it was not applied", lockcluster.ErrInvalid)

// once returns the remembered answer of c's id, or decides and remembers.
func (a *Applier) once(c command.Command) lockcluster.Result {
	id := c.ID
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
	if b, ok := a.tx.Get(key); ok {
		var rec statepb.AnswerRecord
		decodeAnswer(key, b, &rec)
		if rec.GetRequestDigest() != c.Digest {
			return a.invalid(errOtherRequest)
		}
		res, err := command.DecodeResult(rec.GetResult())
		if err != nil {
			panic(fmt.Sprintf("remembered answer: %v", err))
		}
		return res
	}
	res := a.decide(c.Request)
	if res.Status == lockcluster.StatusNotActive {
		return res // nothing was decided: a retry is judged anew
	}
	a.remember(key, c.Digest, &res)
	a.acknowledge(id, client, known)
	a.evict()
	return res
}

// Remembered returns the answer that is remembered for an id and the digest of
// its request, nil if none is. It is what a command under this id would be told.
func Remembered(r Reader, id lockcluster.RequestID, digest uint64) (*lockcluster.Result, error) {
	b, ok := r.Get(answerKey(id.ClientID, id.Sequence))
	if !ok {
		return nil, nil //nolint:nilnil // there is none
	}
	var rec statepb.AnswerRecord
	decodeAnswer(answerKey(id.ClientID, id.Sequence), b, &rec)
	if rec.GetRequestDigest() != digest {
		return nil, errOtherRequest
	}
	res, err := command.DecodeResult(rec.GetResult())
	return &res, err
}

func (a *Applier) client(id string) (*statepb.ClientRecord, bool) {
	rec := &statepb.ClientRecord{}
	key := clientKey(id)
	b, ok := a.tx.Get(key)
	if ok {
		decodeClient(key, b, rec)
	}
	return rec, ok
}

// answerSizeMax bounds a remembered answer: an answer about many records with
// large values is remembered without these, because it is one record of a
// snapshot. One value of the largest size is always kept.
const answerSizeMax = 2 * lockcluster.ValueSizeMax

func (a *Applier) remember(key string, digest uint64, res *lockcluster.Result) {
	a.books.NextOrder++
	rec, err := encodeAnswer(a.books.NextOrder, a.books.ClockUnixMs, res, digest)
	if err == nil && len(rec) > answerSizeMax {
		slim := WithoutValues(*res)
		rec, err = encodeAnswer(a.books.NextOrder, a.books.ClockUnixMs, &slim, digest)
	}
	if err != nil {
		panic(fmt.Sprintf("encode answer: %v", err))
	}
	a.tx.Put(key, rec)
	a.tx.Put(answerOrderKey(a.books.NextOrder), []byte(key))
	a.books.Count++
	a.books.SizeBytes += uint64(len(rec) + len(key))
}

// acknowledge drops the answers that the client will never ask for again.
func (a *Applier) acknowledge(id lockcluster.RequestID, client *statepb.ClientRecord, known bool) {
	acked := min(id.AckedBelow, id.Sequence)
	if acked < client.AckedBelow+a.limits.ackedStep {
		return
	}
	prefix := answerPrefix(id.ClientID)
	var keys []string
	a.tx.Scan(prefix, answerKey(id.ClientID, client.AckedBelow), func(key string, _ []byte) bool {
		seq := binary.BigEndian.Uint64([]byte(key[len(prefix):]))
		if seq >= acked {
			return false
		}
		if len(keys) == a.limits.drops {
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
	a.tx.Put(clientKey(id), encodeClient(client))
	a.tx.Put(clientOrderKey(client.Order), []byte(id))
}

func (a *Applier) forget(key string) {
	b, ok := a.tx.Get(key)
	if !ok {
		panic("remembered answer is gone")
	}
	var rec statepb.AnswerRecord
	decodeAnswer(key, b, &rec)
	a.tx.Delete(key)
	a.tx.Delete(answerOrderKey(rec.GetOrder()))
	a.books.Count--
	a.books.SizeBytes -= uint64(len(b) + len(key))
}

// evict drops the oldest answers and clients that need not be kept.
func (a *Applier) evict() {
	l := &a.limits
	deadline := a.books.ClockUnixMs - l.ageMin.Milliseconds()
	for range l.evictions {
		large := a.books.SizeBytes > l.sizeMax && a.books.Count > 1 // the newest always stays
		if a.books.Count <= l.answersMin && !large {
			break
		}
		_, key := a.oldest(tableAnswerOrder)
		b, ok := a.tx.Get(string(key))
		if !ok {
			panic("answer order without its answer")
		}
		var rec statepb.AnswerRecord
		decodeAnswer(string(key), b, &rec)
		if !large && a.books.Count <= l.answersMax && rec.GetTimeUnixMs() > deadline {
			break
		}
		a.forget(string(key))
	}
	for range l.evictions {
		if a.books.Clients == 0 || a.clientsAreNew && a.books.Clients <= l.clientsMax {
			break
		}
		orderKey, id := a.oldest(tableClientOrder)
		client, known := a.client(string(id))
		if !known {
			panic("client order without its client")
		}
		if a.books.Clients <= l.clientsMax && client.GetTimeUnixMs() > deadline {
			a.clientsAreNew = true
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
