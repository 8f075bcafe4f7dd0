// Command thumbnail keeps a small picture of every picture of the cameras.
package main

import (
	"errors"
	"image"
	"image/color"

	"camera/picture"

	headgate "github.com/headgate-io/headgate/sdk/go"
)

func init() { headgate.HandleJSON(handle) }

func main() {}

func handle(ctx *headgate.Context, o picture.Object) error {
	to := "thumbnails/" + o.Key
	if ctx.Type() == "io.headgate.object.deleted" {
		return ctx.DeleteObject("pictures", to)
	}
	p, format, err := picture.Read(ctx, o)
	if errors.Is(err, picture.ErrNone) {
		ctx.Log(headgate.Warn, "%v", err)
		return nil
	}
	if err != nil {
		return err
	}
	side := 0
	if _, err := ctx.Config("side", &side); err != nil || side < 1 {
		return errors.Join(errors.New("config.side is not a number of pixels"), err)
	}
	return picture.Write(ctx, to, shrink(p, side), format)
}

// shrink scales a picture so that its longer side has at most so many pixels.
// Each pixel is the mean of those that it stands for.
func shrink(p *image.RGBA, side int) *image.RGBA {
	w, h := p.Rect.Dx(), p.Rect.Dy()
	longer := max(w, h)
	if longer <= side {
		return p
	}
	small := image.NewRGBA(image.Rect(0, 0, max(1, w*side/longer), max(1, h*side/longer)))
	sw, sh := small.Rect.Dx(), small.Rect.Dy()
	for y := range sh {
		for x := range sw {
			small.SetRGBA(x, y, mean(p, image.Rect(x*w/sw, y*h/sh, (x+1)*w/sw, (y+1)*h/sh)))
		}
	}
	return small
}

func mean(p *image.RGBA, part image.Rectangle) color.RGBA {
	var sum [4]int
	for y := part.Min.Y; y < part.Max.Y; y++ {
		row := p.Pix[p.PixOffset(part.Min.X, y):p.PixOffset(part.Max.X, y)]
		for i, v := range row {
			sum[i%4] += int(v)
		}
	}
	n := part.Dx() * part.Dy()
	return color.RGBA{uint8(sum[0] / n), uint8(sum[1] / n), uint8(sum[2] / n), uint8(sum[3] / n)}
}
