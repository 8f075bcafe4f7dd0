// Command watermark writes into every picture of the cameras when it came.
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
	to := "marked/" + o.Key
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
	scale := 0
	if _, err := ctx.Config("scale", &scale); err != nil || scale < 1 {
		return errors.Join(errors.New("config.scale is not a number of pixels"), err)
	}
	if len(o.Modified) < len("2006-01-02T15:04:05") {
		return errors.New("the event does not say when the picture came")
	}
	write(p, o.Modified[:10]+" "+o.Modified[11:19], scale)
	return picture.Write(ctx, to, p, format)
}

// write darkens a bar at the lower left and writes into it. What does not fit
// is cut off.
func write(p *image.RGBA, text string, scale int) {
	bar := image.Rect(0, p.Rect.Dy()-(glyphHeight+2)*scale, (len(text)*(glyphWidth+1)+1)*scale, p.Rect.Dy()).Intersect(p.Rect)
	for y := bar.Min.Y; y < bar.Max.Y; y++ {
		for x := bar.Min.X; x < bar.Max.X; x++ {
			c := p.RGBAAt(x, y)
			p.SetRGBA(x, y, color.RGBA{c.R / 4, c.G / 4, c.B / 4, c.A})
		}
	}
	for i, char := range text {
		left := (1 + i*(glyphWidth+1)) * scale
		top := p.Rect.Dy() - (glyphHeight+1)*scale
		for row, dots := range glyphs[char] {
			for column, dot := range dots {
				if dot != '#' {
					continue
				}
				fill(p, image.Rect(left+column*scale, top+row*scale, left+(column+1)*scale, top+(row+1)*scale))
			}
		}
	}
}

func fill(p *image.RGBA, part image.Rectangle) {
	part = part.Intersect(p.Rect)
	for y := part.Min.Y; y < part.Max.Y; y++ {
		for x := part.Min.X; x < part.Max.X; x++ {
			p.SetRGBA(x, y, color.RGBA{255, 255, 255, 255})
		}
	}
}
