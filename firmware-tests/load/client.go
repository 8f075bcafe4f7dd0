package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// wire is a small MQTT 3.1.1 client that spends as little as it can, so that
// the machine is the gateway's. It is for this program only.
type wire struct {
	net.Conn
	mu  sync.Mutex // guards out
	out *bufio.Writer
	in  *bufio.Reader
	id  uint16
}

func dial(ctx context.Context, address, name, password string) (*wire, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	w := &wire{Conn: conn, out: bufio.NewWriterSize(conn, 64<<10), in: bufio.NewReaderSize(conn, 64<<10)}
	c := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	c.ProtocolName, c.ProtocolVersion, c.ClientIdentifier, c.CleanSession = "MQTT", 4, name, true
	c.UsernameFlag, c.Username, c.PasswordFlag, c.Password = password != "", name, password != "", []byte(password)
	if err := c.Write(conn); err != nil {
		return nil, err
	}
	answer, err := packets.ReadPacket(w.in)
	if err != nil {
		return nil, fmt.Errorf("%s: connect: %w", name, err)
	}
	if a, ok := answer.(*packets.ConnackPacket); !ok || a.ReturnCode != packets.Accepted {
		return nil, fmt.Errorf("%s: not accepted: %v", name, answer)
	}
	return w, nil
}

func (w *wire) subscribe(filter string, qos byte) error {
	s := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
	s.MessageID, s.Topics, s.Qoss = 1, []string{filter}, []byte{qos}
	if err := s.Write(w.Conn); err != nil {
		return err
	}
	_, err := packets.ReadPacket(w.in)
	return err
}

// publish buffers one PUBLISH; flush sends what is buffered.
func (w *wire) publish(topic string, payload []byte, qos byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	length := 2 + len(topic) + len(payload)
	if qos > 0 {
		length += 2
	}
	b := append(w.out.AvailableBuffer(), 0x30|qos<<1)
	b = binary.AppendUvarint(b, uint64(length)) // MQTT's variable byte integer is LEB128
	b = binary.BigEndian.AppendUint16(b, uint16(len(topic)))
	b = append(b, topic...)
	if qos > 0 {
		w.id = w.id%0xffff + 1
		b = binary.BigEndian.AppendUint16(b, w.id)
	}
	_, err := w.out.Write(append(b, payload...))
	return err
}

func (w *wire) flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.Flush()
}

// receive reads until the connection ends: received gets every payload, acked
// every PUBACK. What it answers to QoS 1 goes out in batches.
func (w *wire) receive(received func([]byte), acked func()) {
	var buf []byte
	for {
		first, err := w.in.ReadByte()
		if err != nil {
			return
		}
		length, err := binary.ReadUvarint(w.in)
		if err != nil {
			return
		}
		if cap(buf) < int(length) {
			buf = make([]byte, length)
		}
		buf = buf[:length]
		if _, err := io.ReadFull(w.in, buf); err != nil {
			return
		}
		switch first >> 4 {
		case packets.Publish:
			at := 2 + int(binary.BigEndian.Uint16(buf))
			if first&0x06 != 0 {
				w.mu.Lock()
				_, _ = w.out.Write([]byte{packets.Puback << 4, 2, buf[at], buf[at+1]})
				w.mu.Unlock()
				at += 2
			}
			received(buf[at:])
		case packets.Puback:
			acked()
		}
		if w.in.Buffered() == 0 && w.flush() != nil {
			return
		}
	}
}
