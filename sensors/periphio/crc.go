package periphio

// crc8 is an eight-bit cyclic redundancy check, most significant bit first.
func crc8(data []byte, polynomial, initial byte) byte {
	crc := initial
	for _, b := range data {
		crc ^= b
		for range 8 {
			if crc&0x80 != 0 {
				crc = crc<<1 ^ polynomial
			} else {
				crc <<= 1
			}
		}
	}
	return crc
}

// crc8Reflected is the same with the least significant bit first.
func crc8Reflected(data []byte, polynomial byte) byte {
	var crc byte
	for _, b := range data {
		crc ^= b
		for range 8 {
			if crc&1 != 0 {
				crc = crc>>1 ^ polynomial
			} else {
				crc >>= 1
			}
		}
	}
	return crc
}
