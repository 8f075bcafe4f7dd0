// Package picture reads and writes the pictures of a bucket.
package picture

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/draw"
	"image/jpeg"
	"image/png"

	headgate "github.com/headgate-io/headgate/sdk/go"
)

// Object is what an event of a bucket tells.
type Object struct {
	Bucket, Key, Type, Modified string
}

// maxPixels bounds what is decoded: four bytes each are to fit into memory.
const maxPixels = 12 << 20

// ErrNone is that there is no picture to work on: it is gone again, or is none.
// Trying once more would not help.
var ErrNone = errors.New("no picture")

// Read returns the picture that an event tells of, to draw on, and its format.
func Read(ctx *headgate.Context, o Object) (*image.RGBA, string, error) {
	raw, err := ctx.GetObject(o.Bucket, o.Key)
	if errors.Is(err, headgate.ErrNotFound) {
		return nil, "", fmt.Errorf("%w: %s is gone", ErrNone, o.Key)
	}
	if err != nil {
		return nil, "", err
	}
	// The header says how large it is, before anything is made of it.
	header, format, err := image.DecodeConfig(bytes.NewReader(raw))
	if err != nil {
		return nil, "", fmt.Errorf("%w: %s: %w", ErrNone, o.Key, err)
	}
	if header.Width*header.Height > maxPixels {
		return nil, "", fmt.Errorf("%w: %s has %d x %d pixels, more than %d", ErrNone, o.Key, header.Width, header.Height, maxPixels)
	}
	decoded, _, err := image.Decode(bytes.NewReader(raw))
	if err != nil {
		return nil, "", fmt.Errorf("%w: %s: %w", ErrNone, o.Key, err)
	}
	b := decoded.Bounds()
	p := image.NewRGBA(image.Rect(0, 0, b.Dx(), b.Dy()))
	draw.Draw(p, p.Bounds(), decoded, b.Min, draw.Src)
	return p, format, nil
}

// Write puts a picture into the bucket pictures, in the format that it had.
func Write(ctx *headgate.Context, key string, p image.Image, format string) error {
	var out bytes.Buffer
	var err error
	if format == "png" {
		err = png.Encode(&out, p)
	} else {
		err = jpeg.Encode(&out, p, &jpeg.Options{Quality: 90})
	}
	if err != nil {
		return err
	}
	return ctx.PutObject("pictures", key, out.Bytes(), "image/"+format)
}
