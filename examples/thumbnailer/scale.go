package main

import (
	"context"
	"image"
	"image/color"
	"iter"
)

// fit is the rectangle of a picture's form whose longer side is so long.
func fit(b image.Rectangle, size int) image.Rectangle {
	w, h := size, size
	if b.Dx() > b.Dy() {
		h = max(1, size*b.Dy()/b.Dx())
	} else {
		w = max(1, size*b.Dx()/b.Dy())
	}
	return image.Rect(0, 0, w, h)
}

// scale draws src into dst, each pixel the mean of those it stands for, and tells every tenth how far it is. It ends early
// with the context.
func scale(ctx context.Context, dst *image.RGBA, src image.Image) iter.Seq[int] {
	return func(yield func(percent int) bool) {
		h, told := dst.Rect.Dy(), 0
		for y := range h {
			if ctx.Err() != nil {
				return
			}
			for x := range dst.Rect.Dx() {
				dst.Set(x, y, mean(src, dst.Rect, x, y))
			}
			if percent := 100 * (y + 1) / h / 10 * 10; percent > told && percent < 100 {
				told = percent
				if !yield(percent) {
					return
				}
			}
		}
	}
}

// mean is the mean color of the pixels of src under a pixel of a picture with the bounds to.
func mean(src image.Image, to image.Rectangle, x, y int) color.Color {
	b := src.Bounds()
	x0, x1 := b.Min.X+x*b.Dx()/to.Dx(), b.Min.X+(x+1)*b.Dx()/to.Dx()
	y0, y1 := b.Min.Y+y*b.Dy()/to.Dy(), b.Min.Y+(y+1)*b.Dy()/to.Dy()
	var r, g, bl, a, n uint64
	for sy := y0; sy < max(y1, y0+1); sy++ {
		for sx := x0; sx < max(x1, x0+1); sx++ {
			pr, pg, pb, pa := src.At(sx, sy).RGBA()
			r, g, bl, a, n = r+uint64(pr), g+uint64(pg), bl+uint64(pb), a+uint64(pa), n+1
		}
	}
	return color.RGBA64{uint16(r / n), uint16(g / n), uint16(bl / n), uint16(a / n)}
}
