package main

import (
	"bytes"
	"context"
	"fmt"
	"image"
	_ "image/gif"  // a format that clients may send
	_ "image/jpeg" // a format that clients may send
	"image/png"
	"iter"

	"github.com/archelon-db/archelon/service"
)

const (
	maxSize   = 1024    // of a thumbnail's longer side, in pixels
	maxPixels = 1 << 26 // of a picture: 256 MB when it is decoded
)

// request asks for thumbnails.
type request struct {
	Name  string `bson:"thumbnail" doc:"the picture's name"`
	Image []byte `bson:"image" doc:"a PNG, JPEG or GIF"`
	Sizes []int  `bson:"sizes" doc:"of the longer side, in pixels"`
}

// Validate is asked before the work begins.
func (r *request) Validate() error {
	if len(r.Sizes) == 0 {
		return fmt.Errorf("no sizes")
	}
	for _, s := range r.Sizes {
		if s < 1 || s > maxSize {
			return fmt.Errorf("a size has to be between 1 and %d, not %d", maxSize, s)
		}
	}
	return nil
}

// step is a document of the stream.
type step struct {
	Stage   string `bson:"stage" doc:"decoded, scaling or done"`
	Size    int    `bson:"size,omitempty"`
	Percent int    `bson:"percent,omitempty" doc:"of this size"`
	Width   int    `bson:"width,omitempty"`
	Height  int    `bson:"height,omitempty"`
	Image   []byte `bson:"image,omitempty" doc:"a PNG"`
}

// finished is what watchers see.
type finished struct {
	Name  string `bson:"name"`
	Size  int    `bson:"size"`
	Bytes int    `bson:"bytes"`
}

type thumbnailer struct{ news *feed[finished] }

// badImage is the service's own error code.
const badImage service.Code = 10_000_100

func (t *thumbnailer) thumbnail(ctx context.Context, req request) iter.Seq2[step, error] {
	return func(yield func(step, error) bool) {
		img, err := decode(req.Image)
		if err != nil {
			yield(step{}, err)
			return
		}
		if !yield(step{Stage: "decoded", Width: img.Bounds().Dx(), Height: img.Bounds().Dy()}, nil) {
			return
		}
		for _, size := range req.Sizes {
			small := image.NewRGBA(fit(img.Bounds(), size))
			for percent := range scale(ctx, small, img) {
				if !yield(step{Stage: "scaling", Size: size, Percent: percent}, nil) {
					return
				}
			}
			if ctx.Err() != nil {
				yield(step{}, ctx.Err())
				return
			}
			var out bytes.Buffer
			if err := png.Encode(&out, small); err != nil {
				yield(step{}, err)
				return
			}
			t.news.publish(finished{req.Name, size, out.Len()})
			if !yield(step{"done", size, 100, small.Rect.Dx(), small.Rect.Dy(), out.Bytes()}, nil) {
				return
			}
		}
	}
}

func (t *thumbnailer) watch(ctx context.Context, _ struct{}) iter.Seq2[finished, error] {
	return func(yield func(finished, error) bool) {
		for f := range t.news.subscribe(ctx) {
			if !yield(f, nil) {
				return
			}
		}
	}
}

func decode(b []byte) (image.Image, error) {
	fail := func(err error) (image.Image, error) {
		e := service.Errorf(badImage, "cannot read the image: %v", err)
		e.Name = "BadImage"
		return nil, e
	}
	size, _, err := image.DecodeConfig(bytes.NewReader(b))
	if err != nil {
		return fail(err)
	}
	if size.Width*size.Height > maxPixels {
		return fail(fmt.Errorf("%d x %d pixels are too many", size.Width, size.Height))
	}
	img, _, err := image.Decode(bytes.NewReader(b))
	if err != nil {
		return fail(err)
	}
	return img, nil
}
