package backends

import (
	"strconv"
	"strings"
	"sync"
)

// A Redis Cluster keeps each key in one of 16384 slots, and a script works on
// keys of one slot only.
const redisSlots = 16384

// slotOfKey returns a key's slot: that of its {tag}, if it has one.
func slotOfKey(key string) uint16 {
	if i := strings.IndexByte(key, '{'); i >= 0 {
		if n := strings.IndexByte(key[i+1:], '}'); n > 0 {
			key = key[i+1 : i+1+n]
		}
	}
	return crc16(key) % redisSlots
}

// crc16 is CRC-16/XMODEM.
func crc16(s string) uint16 {
	var crc uint16
	for i := range len(s) {
		crc ^= uint16(s[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return crc
}

// slotTags returns for each slot a tag that lies in it.
var slotTags = sync.OnceValue(func() *[redisSlots]string {
	var tags [redisSlots]string
	for n, found := 0, 0; found < redisSlots; n++ {
		tag := strconv.Itoa(n)
		if slot := crc16(tag) % redisSlots; tags[slot] == "" {
			tags[slot] = tag
			found++
		}
	}
	return &tags
})
