//go:build e2e

package examples

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"math"
	"strings"
)

// painted is a picture of waves, smooth as what a lens sees.
func painted(w, h int, seed float64) image.Image {
	p := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			u, v := float64(x)/float64(w), float64(y)/float64(h)
			wave := func(a, b float64) uint8 { return uint8(128 + 100*math.Sin(seed+a*u)*math.Cos(seed+b*v)) }
			p.SetRGBA(x, y, color.RGBA{wave(7, 3), wave(2, 9), wave(5, 5), 255})
		}
	}
	return p
}

func asJPEG(p image.Image) []byte {
	var b bytes.Buffer
	if err := jpeg.Encode(&b, p, &jpeg.Options{Quality: 92}); err != nil {
		panic(err) // it is in memory
	}
	return b.Bytes()
}

func asPNG(p image.Image) []byte {
	var b bytes.Buffer
	if err := png.Encode(&b, p); err != nil {
		panic(err) // it is in memory
	}
	return b.Bytes()
}

// withNotes puts two long segments in front of a JPEG's header, as cameras do.
func withNotes(raw []byte) []byte {
	note := append([]byte{0xff, 0xe1, 0xff, 0xff}, bytes.Repeat([]byte{0xff, 0xc0, 7}, 0xfffd/3)...)
	out := append([]byte{}, raw[:2]...)
	for range 2 {
		out = append(append(out, note...), make([]byte, 0xfffd%3)...)
	}
	return append(out, raw[2:]...)
}

// channels are a pixel's red, green and blue, from 0 to 255.
func channels(p image.Image, x, y int) (c [3]float64) {
	r, g, b, _ := p.At(x, y).RGBA()
	return [3]float64{float64(r) / 257, float64(g) / 257, float64(b) / 257}
}

// isThumbnail compares a small picture with the original: each of its pixels
// is the light that fell on its part of the original.
func isThumbnail(small, original image.Image) error {
	const side = 160
	w, h := float64(original.Bounds().Dx()), float64(original.Bounds().Dy())
	factor := min(1, side/max(w, h))
	b := small.Bounds()
	if math.Abs(float64(b.Dx())-w*factor) > 1 || math.Abs(float64(b.Dy())-h*factor) > 1 {
		return fmt.Errorf("a thumbnail of %d x %d for a picture of %v x %v", b.Dx(), b.Dy(), w, h)
	}
	sum := 0.0
	for y := range b.Dy() {
		for x := range b.Dx() {
			is := channels(small, x, y)
			should := light(original, float64(x)*w/float64(b.Dx()), float64(y)*h/float64(b.Dy()), w/float64(b.Dx()), h/float64(b.Dy()))
			for c := range 3 {
				sum += math.Abs(is[c] - should[c])
			}
		}
	}
	if off := sum / float64(3*b.Dx()*b.Dy()); off > 3 {
		return fmt.Errorf("the thumbnail's pixels are off by %.1f of 255 on average", off)
	}
	return nil
}

// light is the mean of a rectangle that may cut pixels, in sixteen samples.
func light(p image.Image, left, top, width, height float64) (mean [3]float64) {
	for i := range 16 {
		c := channels(p, int(left+width*(float64(i%4)+0.5)/4), int(top+height*(float64(i/4)+0.5)/4))
		for k := range c {
			mean[k] += c[k] / 16
		}
	}
	return mean
}

// isMarked compares a picture with the original, but for a bar at the lower
// left, and reads what is written there.
func isMarked(marked, original image.Image, text string) error {
	const dot, barHeight = 2, 14
	barWidth := min(original.Bounds().Dx(), (4*len(text)+1)*dot)
	if marked.Bounds().Dx() != original.Bounds().Dx() || marked.Bounds().Dy() != original.Bounds().Dy() {
		return fmt.Errorf("the marked picture has %v, the original %v", marked.Bounds(), original.Bounds())
	}
	w, h := original.Bounds().Dx(), original.Bounds().Dy()
	sum, n := 0.0, 0.0
	for y := range h {
		for x := range w {
			if x < barWidth+8 && y >= h-barHeight-8 { // what JPEG smears of it
				continue
			}
			is, should := channels(marked, x, y), channels(original, x, y)
			for c := range 3 {
				sum += math.Abs(is[c] - should[c])
				n++
			}
		}
	}
	if off := sum / n; off > 2 {
		return fmt.Errorf("the marked picture is off by %.1f of 255 beside its mark", off)
	}
	fits := min(len(text), (w/dot-1)/4)
	if is := written(marked, fits, dot); is != text[:fits] {
		return fmt.Errorf("the picture is marked %q, want %q", is, text[:fits])
	}
	return nil
}

// shapes are the characters as fifteen dots each, row by row, in octal.
var shapes = map[int]rune{
	0o75557: '0', 0o26227: '1', 0o71747: '2', 0o71717: '3', 0o55711: '4', 0o74717: '5',
	0o74757: '6', 0o71111: '7', 0o75757: '8', 0o75717: '9', 0o00700: '-', 0o02020: ':', 0: ' ',
}

// written reads a line of 3 x 5 dots at the lower left.
func written(p image.Image, characters, dot int) string {
	var text strings.Builder
	for i := range characters {
		shape := 0
		for d := range 15 {
			x := (1+4*i+d%3)*dot + dot/2
			y := p.Bounds().Dy() - (6-d/3)*dot + dot/2
			c := channels(p, p.Bounds().Min.X+x, p.Bounds().Min.Y+y)
			shape <<= 1
			if c[0]+c[1]+c[2] > 3*150 {
				shape |= 1
			}
		}
		char, ok := shapes[shape]
		if !ok {
			char = '?'
		}
		text.WriteRune(char)
	}
	return text.String()
}
