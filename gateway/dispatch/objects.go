package dispatch

import (
	"encoding/json"
	"fmt"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/gateway/trigger"
	"github.com/headgate-io/headgate/sandbox/host"
)

var _ host.Blobs = (*call)(nil)

// MaxObject implements host.Blobs.
func (c *call) MaxObject(bucket string) int64 { return c.task.fn.d.cfg.Objects.MaxObject(bucket) }

// PutBlob implements host.Blobs.
func (c *call) PutBlob(data []byte) (string, error) { return c.task.staged().Put(data) }

// ReadBlob implements host.Blobs.
func (c *call) ReadBlob(digest string, offset int64, p []byte) (int, error) {
	return c.task.staged().Read(digest, offset, p)
}

// blobs is what the call offers its guest; nil where the gateway has no
// objects.
func (c *call) blobs() host.Blobs {
	if c.task.fn.d.cfg.Objects == nil {
		return nil
	}
	return c
}

// staged is the task's stage, made when it is first asked for. The task keeps
// it through its reruns, until it is known what becomes of it.
func (t *task) staged() Stage {
	if t.stage == nil {
		t.stage = t.fn.d.cfg.Objects.NewStage()
	}
	return t.stage
}

// place puts on disk what the effects speak of.
func (t *task) place(e *function.Effects) error {
	if t.stage == nil || len(e.Objects) == 0 {
		return nil
	}
	return t.stage.Place(e.Objects)
}

// unstage lets go of what the task has put.
func (t *task) unstage() {
	if t.stage != nil {
		t.stage.Release()
		t.stage = nil
	}
}

// ObjectData is the data of an event that tells of an object: what was put, or
// what is gone.
type ObjectData struct {
	Bucket string `json:"bucket"`
	Key    string `json:"key"`
	function.Object
	// Replaces is the digest of what was under the key before; empty is nothing.
	Replaces string `json:"replaces,omitempty"`
}

// objects makes room for what is put, and starts who asked to hear of what
// changes. The old objects are read through the view, as those of state are.
func (c *cause) objects(v *store.View, e *function.Effects) error {
	if len(e.Objects) == 0 || v == nil {
		return nil
	}
	if c.d.cfg.Objects != nil {
		evicted, err := c.d.cfg.Objects.Room(v, e.Objects)
		if err != nil {
			return err
		}
		e.Objects = append(e.Objects, evicted...)
	}
	for i := range e.Objects {
		if err := c.object(v, &e.Objects[i]); err != nil {
			return err
		}
	}
	return nil
}

func (c *cause) object(v *store.View, ch *function.ObjectChange) error {
	subject := trigger.FileSubject(ch.Bucket, ch.Key)
	if !c.d.cfg.Router.Any(trigger.File, subject) {
		return nil
	}
	value, found, err := v.Get(function.ObjectSpace(ch.Bucket), ch.Key)
	if err != nil {
		return fmt.Errorf("read %s, which is watched, before its change: %w", subject, err)
	}
	var old function.Object
	if found {
		if old, err = function.DecodeObject(value); err != nil {
			return err
		}
	} else if ch.Delete {
		old = ch.Object // its time has passed
	}
	if ch.Delete && old.Digest == "" {
		return nil // nothing changes
	}
	ev, err := ObjectEvent(ch, old)
	if err != nil {
		return err
	}
	made := c.event(ev.Type, ev.Subject, ev.Data)
	made.DataContentType = ev.DataContentType
	c.match(trigger.File, subject, made, 0)
	return nil
}

// ObjectEvent is the event of a change of what was there before, without what
// tells of its cause.
func ObjectEvent(ch *function.ObjectChange, old function.Object) (*event.Event, error) {
	kind, data := event.TypeObjectCreated, ObjectData{Bucket: ch.Bucket, Key: ch.Key, Object: ch.Object, Replaces: old.Digest}
	if ch.Delete {
		kind, data.Object, data.Replaces = event.TypeObjectDeleted, old, ""
	}
	text, err := json.Marshal(data)
	if err != nil {
		return nil, fmt.Errorf("tell of the change of %s/%s: %w", ch.Bucket, ch.Key, err)
	}
	return &event.Event{Type: kind, Subject: trigger.FileSubject(ch.Bucket, ch.Key), DataContentType: "application/json", Data: text}, nil
}
