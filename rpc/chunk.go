package rpc

import (
	"sync"

	"google.golang.org/grpc/encoding"
	grpcproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// chunkBytes is the size of a listing's or a backup's message, about.
const chunkBytes = 240 << 10

// encodedChunk is a [pb.ListResponse] as it goes over the wire. A listing is
// most of all copying; both ends spare the copy that grpc's codec makes.
type encodedChunk struct{ data []byte }

// chunkCodec is grpc's codec for protobuf, but leaves an encodedChunk as it is.
type chunkCodec struct{ encoding.CodecV2 }

var theCodec = chunkCodec{encoding.GetCodecV2(grpcproto.Name)}

// Marshal implements [encoding.CodecV2]. A chunk's memory goes back to its pool
// when it was sent.
func (c chunkCodec) Marshal(v any) (mem.BufferSlice, error) {
	chunk, ok := v.(*encodedChunk)
	if !ok {
		return c.CodecV2.Marshal(v)
	}
	return mem.BufferSlice{mem.NewBuffer(&chunk.data, chunkMemory)}, nil
}

// Unmarshal implements [encoding.CodecV2]. A chunk's memory is used again.
func (c chunkCodec) Unmarshal(data mem.BufferSlice, v any) error {
	chunk, ok := v.(*encodedChunk)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	n := data.Len()
	if cap(chunk.data) < n {
		chunk.data = make([]byte, n)
	}
	chunk.data = chunk.data[:n]
	data.CopyTo(chunk.data)
	return nil
}

// chunkPool keeps memory for chunks. Grpc's own pools clear what they give out;
// a chunk is sent no further than it was written.
type chunkPool struct{ pool sync.Pool }

var chunkMemory = &chunkPool{pool: sync.Pool{New: func() any { return new([]byte) }}}

// Get implements [mem.BufferPool].
func (p *chunkPool) Get(size int) *[]byte {
	b, ok := p.pool.Get().(*[]byte)
	if !ok || cap(*b) < size {
		fresh := make([]byte, size)
		return &fresh
	}
	*b = (*b)[:size]
	return b
}

// Put implements [mem.BufferPool]. A chunk with one very large lock is not kept.
func (p *chunkPool) Put(b *[]byte) {
	if cap(*b) <= 2*chunkBytes {
		p.pool.Put(b)
	}
}
