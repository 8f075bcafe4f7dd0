package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/admin"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/config"
	"github.com/headgate-io/headgate/gateway/doctor"
	"github.com/headgate-io/headgate/gateway/object"
)

// objectAdmin is the objects as the admin API has them.
type objectAdmin struct{ g *Gateway }

var _ admin.Objects = objectAdmin{}

// Buckets lists the buckets by name.
func (o objectAdmin) Buckets() []api.Bucket {
	out := []api.Bucket{}
	for name, b := range o.g.cfg.Objects.Buckets {
		b = b.WithDefaults()
		use := o.g.store.BucketUse(name)
		out = append(out, api.Bucket{
			Name: name, Bytes: use.Bytes, Objects: use.Objects, Reserved: use.Reserved, Quota: int64(b.Quota), MaxObject: int64(b.MaxObject),
			MaxObjects: int64(b.MaxObjects), Keep: b.Keep.Std(), WhenFull: cmp.Or(b.WhenFull, config.WhenFullRefuse), Public: b.Public,
		})
	}
	slices.SortFunc(out, func(a, b api.Bucket) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// List lists a page of objects.
func (o objectAdmin) List(ctx context.Context, bucket, prefix, after string, limit int) (api.ObjectList, error) {
	rows, more, err := o.g.objects.List(ctx, bucket, prefix, after, limit)
	out := api.ObjectList{Objects: make([]api.Object, 0, len(rows)), More: more}
	for _, r := range rows {
		out.Objects = append(out.Objects, objectOf(bucket, r.Key, r.Object))
	}
	return out, objectFault(err)
}

func objectOf(bucket, key string, o function.Object) api.Object {
	return api.Object{Bucket: bucket, Key: key, Digest: o.Digest, Size: o.Size, Type: o.Type, Modified: o.Modified}
}

// Stat shows an object.
func (o objectAdmin) Stat(ctx context.Context, bucket, key string) (api.Object, error) {
	at, err := o.g.objects.Stat(ctx, bucket, key)
	return objectOf(bucket, key, at), objectFault(err)
}

// Open opens an object.
func (o objectAdmin) Open(ctx context.Context, bucket, key string) (function.Object, *os.File, error) {
	at, f, err := o.g.objects.Open(ctx, bucket, key)
	return at, f, objectFault(err)
}

// Put puts an object.
func (o objectAdmin) Put(ctx context.Context, bucket, key, mediaType string, body io.Reader, length int64) (api.Object, error) {
	if err := o.g.checkReady(); err != nil {
		return api.Object{}, admin.Refusal(fmt.Errorf("the gateway is %w: try again in a moment", err))
	}
	stored, err := o.g.objects.Put(ctx, object.Upload{Bucket: bucket, Key: key, Type: mediaType, Source: operatorSource, Body: body, Length: length})
	return objectOf(bucket, key, stored.Object), objectFault(err)
}

// Delete deletes an object.
func (o objectAdmin) Delete(ctx context.Context, bucket, key string) error {
	if err := o.g.checkReady(); err != nil {
		return admin.Refusal(fmt.Errorf("the gateway is %w: try again in a moment", err))
	}
	return objectFault(o.g.objects.Delete(ctx, operatorSource, bucket, key, nil))
}

// objectFault says whose fault an error is.
func objectFault(err error) error {
	var body *object.BodyError
	switch {
	case errors.Is(err, object.ErrNoBucket), errors.Is(err, object.ErrNotFound), errors.Is(err, object.ErrMissing):
		return admin.Missing(err)
	case errors.Is(err, object.ErrInvalid), errors.Is(err, object.ErrTooLarge), errors.Is(err, object.ErrBusy), errors.Is(err, object.ErrNoRoom), errors.As(err, &body):
		return admin.Refusal(err)
	}
	return err
}

// examinedBuckets are the buckets as doctor looks at them.
func (g *Gateway) examinedBuckets() []doctor.Bucket {
	var out []doctor.Bucket
	for _, b := range (objectAdmin{g}).Buckets() {
		out = append(out, doctor.Bucket{Name: b.Name, Bytes: b.Bytes, Objects: b.Objects, Quota: b.Quota, Refuses: b.WhenFull == config.WhenFullRefuse})
	}
	return out
}
