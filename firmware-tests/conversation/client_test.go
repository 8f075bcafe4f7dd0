package conversation

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// wire is a client's end of one connection. It keeps what comes until it is
// asked for, and answers nothing.
type wire struct {
	nc      net.Conn
	version byte
	ended   chan struct{}

	mu     sync.Mutex
	came   []packets.Packet
	broken error // of what came
	closed bool  // by the broker
}

func newWire(nc net.Conn, version byte) *wire {
	w := &wire{nc: nc, version: version, ended: make(chan struct{})}
	go w.listen()
	return w
}

// listen is the reader goroutine; it ends with the connection.
func (w *wire) listen() {
	defer close(w.ended)
	in := bufio.NewReader(w.nc)
	for {
		pk, err := readPacket(in, w.version)
		w.mu.Lock()
		switch {
		case err == nil:
			w.came = append(w.came, pk)
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe):
			w.closed = true
		default:
			w.broken = err
		}
		w.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// take returns what has come since the last call.
func (w *wire) take() (came []packets.Packet, closed bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	came, w.came = w.came, nil
	return came, w.closed, w.broken
}

func (w *wire) close() {
	_ = w.nc.Close()
	<-w.ended
}

func (w *wire) write(b []byte) error {
	_ = w.nc.SetWriteDeadline(time.Now().Add(patience))
	_, err := w.nc.Write(b)
	return err
}

func (w *wire) send(pk packets.Packet) error {
	pk.ProtocolVersion = w.version
	b, err := encode(&pk)
	if err != nil {
		return err
	}
	return w.write(b)
}

func encode(pk *packets.Packet) ([]byte, error) {
	var buf bytes.Buffer
	var err error
	switch pk.FixedHeader.Type {
	case packets.Connect:
		err = pk.ConnectEncode(&buf)
	case packets.Publish:
		err = pk.PublishEncode(&buf)
	case packets.Puback:
		err = pk.PubackEncode(&buf)
	case packets.Pubrec:
		err = pk.PubrecEncode(&buf)
	case packets.Pubrel:
		pk.FixedHeader.Qos = 1
		err = pk.PubrelEncode(&buf)
	case packets.Pubcomp:
		err = pk.PubcompEncode(&buf)
	case packets.Subscribe:
		pk.FixedHeader.Qos = 1
		err = pk.SubscribeEncode(&buf)
	case packets.Unsubscribe:
		pk.FixedHeader.Qos = 1
		err = pk.UnsubscribeEncode(&buf)
	case packets.Disconnect:
		err = pk.DisconnectEncode(&buf)
	default:
		err = fmt.Errorf("packet type %d", pk.FixedHeader.Type)
	}
	return buf.Bytes(), err
}

func readPacket(in *bufio.Reader, version byte) (packets.Packet, error) {
	pk := packets.Packet{ProtocolVersion: version}
	head, err := in.ReadByte()
	if err != nil {
		return pk, err
	}
	if err := pk.FixedHeader.Decode(head); err != nil {
		return pk, fmt.Errorf("fixed header %#x: %w", head, err)
	}
	length, shift := 0, 0
	for {
		b, err := in.ReadByte()
		if err != nil {
			return pk, cutShort(err)
		}
		length |= int(b&0x7F) << shift
		if shift += 7; b < 0x80 {
			break
		}
	}
	pk.FixedHeader.Remaining = length
	body := make([]byte, length)
	if _, err := io.ReadFull(in, body); err != nil {
		return pk, cutShort(err)
	}
	decode, ok := map[byte]func([]byte) error{
		packets.Connack: pk.ConnackDecode, packets.Publish: pk.PublishDecode, packets.Puback: pk.PubackDecode,
		packets.Pubrec: pk.PubrecDecode, packets.Pubrel: pk.PubrelDecode, packets.Pubcomp: pk.PubcompDecode,
		packets.Suback: pk.SubackDecode, packets.Unsuback: pk.UnsubackDecode, packets.Disconnect: pk.DisconnectDecode,
	}[pk.FixedHeader.Type]
	if !ok {
		return pk, fmt.Errorf("a packet of type %d", pk.FixedHeader.Type)
	}
	if err := decode(body); err != nil {
		return pk, fmt.Errorf("packet type %d, body %x: %w", pk.FixedHeader.Type, body, err)
	}
	return pk, nil
}

// cutShort is an end within a packet; a closed connection may end so.
func cutShort(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return io.EOF
	}
	return err
}

func connectPacket(name string, g greeting) packets.Packet {
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connect}, Connect: packets.ConnectParams{
		ProtocolName: []byte("MQTT"), ClientIdentifier: name, Clean: g.clean,
	}}
	if g.version == 5 {
		pk.Properties.SessionExpiryInterval, pk.Properties.SessionExpiryIntervalFlag = uint32(g.expiry/time.Second), g.expiry > 0
		pk.Properties.ReceiveMaximum, pk.Properties.TopicAliasMaximum = g.receive, g.aliases
	}
	if w := g.will; w != nil {
		c := &pk.Connect
		c.WillFlag, c.WillTopic, c.WillPayload, c.WillQos, c.WillRetain = true, w.topic, []byte(w.payload), w.qos, w.retain
		c.WillProperties.WillDelayInterval = uint32(w.delay / time.Second)
	}
	return pk
}
