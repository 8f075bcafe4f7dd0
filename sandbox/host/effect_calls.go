package host

import (
	"bytes"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sandbox/abi"
)

// charge admits one more effect of n bytes, or says which limit is reached.
func (c *Calls) charge(call string, n int) abi.Errno {
	e := &c.effects
	if count := len(e.Writes) + len(e.Publishes) + len(e.Enqueues) + len(e.Invokes) + len(e.Objects) + len(e.Actuations); count >= c.grant.limits.Effects {
		return c.refuse(abi.Limit, "%s: one invocation may ask for %d effects (limits.effects)", call, c.grant.limits.Effects)
	}
	return c.chargeBytes(call, n)
}

func (c *Calls) chargeBytes(call string, n int) abi.Errno {
	if limit := int64(c.grant.limits.EffectBytes); int64(c.effectBytes)+int64(n) > limit {
		return c.refuse(abi.Limit, "%s: with %d more bytes the effects of this invocation are over %d bytes (limits.effect_bytes)", call, n, limit)
	}
	c.effectBytes += n
	return 0
}

// topicVerdict is what the policy said of a topic. It is kept because
// functions publish to few topics, again and again.
type topicVerdict struct {
	topic string
	err   error
}

// maxTopicVerdicts bounds the memory of a function that invents topics.
const maxTopicVerdicts = 128

func (c *Calls) judge(raw []byte) topicVerdict {
	if c.topicsOf != c.grant || len(c.topics) >= maxTopicVerdicts {
		clear(c.topics)
		c.topicsOf = c.grant
	}
	if v, ok := c.topics[string(raw)]; ok {
		return v
	}
	v := topicVerdict{topic: string(raw)}
	if c.grant.topics == nil {
		v.err = errNoTopics
	} else {
		v.err = c.grant.topics.MayPublish(v.topic)
	}
	if c.topics == nil {
		c.topics = map[string]topicVerdict{}
	}
	c.topics[v.topic] = v
	return v
}

type constError string

func (e constError) Error() string { return string(e) }

const errNoTopics = constError("this function may not publish: add the topic to permissions.publish")

// Publish answers publish.
func (c *Calls) Publish(topic, payload []byte, flags uint32, expiry time.Duration) abi.Errno {
	qos := byte(flags & abi.PublishQoSMask)
	switch {
	case flags > abi.PublishQoSMask|abi.PublishRetain || qos > 2:
		return c.refuse(abi.Invalid, "publish: flags 0x%x: bits 0 and 1 are the QoS (0, 1 or 2), bit 2 is retain", flags)
	case len(topic) == 0 || len(topic) > 65535 || !utf8.Valid(topic) || bytes.ContainsAny(topic, "+#\x00"):
		// [MQTT-3.3.2-1], [MQTT-3.3.2-2], [MQTT-4.7.3-1]
		return c.refuse(abi.Invalid, "publish %q: a topic is 1 to 65535 bytes of UTF-8 without +, # and NUL", cut(topic, 128))
	}
	v := c.judge(topic)
	if v.err != nil {
		return c.refuse(abi.Denied, "publish %s: %v", v.topic, v.err)
	}
	if e := c.charge("publish", len(topic)+len(payload)); e != 0 {
		return e
	}
	c.effects.Publishes = append(c.effects.Publishes, function.Publish{
		Topic: v.topic, Payload: bytes.Clone(payload), QoS: qos, Retain: flags&abi.PublishRetain != 0, Expiry: expiry,
	})
	return 0
}

// Enqueue answers enqueue.
func (c *Calls) Enqueue(queue, payload []byte, delay time.Duration) abi.Errno {
	if e := c.checkName("enqueue", queue); e != 0 {
		return e
	}
	if !slices.Contains(c.grant.perms.Enqueue, string(queue)) {
		return c.deny("enqueue", queue, c.grant.perms.Enqueue)
	}
	if e := c.charge("enqueue", len(queue)+len(payload)); e != 0 {
		return e
	}
	c.effects.Enqueues = append(c.effects.Enqueues, function.Enqueue{Queue: string(queue), Payload: bytes.Clone(payload), Delay: delay})
	return 0
}

// Invoke answers invoke.
func (c *Calls) Invoke(name, payload []byte) abi.Errno {
	if e := c.checkName("invoke", name); e != 0 {
		return e
	}
	if !slices.Contains(c.grant.perms.Invoke, string(name)) {
		return c.deny("invoke", name, c.grant.perms.Invoke)
	}
	if e := c.charge("invoke", len(name)+len(payload)); e != 0 {
		return e
	}
	c.effects.Invokes = append(c.effects.Invokes, function.Invoke{Function: string(name), Payload: bytes.Clone(payload)})
	return 0
}

// deny says which permission is missing and what is there instead.
func (c *Calls) deny(call string, name []byte, have []string) abi.Errno {
	allowed := "nothing"
	if len(have) > 0 {
		allowed = strings.Join(have, ", ")
	}
	return c.refuse(abi.Denied, "%s %s: permissions.%s allows %s", call, name, call, allowed)
}
