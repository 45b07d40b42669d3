package deadletter

import (
	"cmp"
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// objects lists the pending objects of a connector, or of all, the oldest first, so that no connector waits for another;
// and what is noted of those that have been put back in part: their done lines by tail, one entry a note.
func (r *Replay) objects(ctx context.Context, connector string) (objects []object, notes map[string][]int, err error) {
	folder := ""
	if connector != "" {
		folder = "connector=" + connector + "/"
	}
	err = r.bucket.list(ctx, pendingFolder+folder, func(tail string, o *types.Object) {
		if found, ok := parseTail(folder + tail); ok {
			found.size, found.etag = aws.ToInt64(o.Size), aws.ToString(o.ETag)
			objects = append(objects, found)
		}
	})
	if err != nil {
		return nil, nil, err
	}
	slices.SortFunc(objects, func(a, b object) int {
		return cmp.Or(cmp.Compare(a.oldest, b.oldest), cmp.Compare(a.tail, b.tail))
	})
	notes = make(map[string][]int)
	err = r.bucket.list(ctx, partialFolder+folder, func(key string, _ *types.Object) {
		if tail, done, ok := parsePartial(folder + key); ok {
			notes[tail] = append(notes[tail], done)
		}
	})
	return objects, notes, err
}

// noteDone gives objects what is noted of them. Of two notes, left by a crash between writing the one and deleting the
// other, the larger is the later.
func noteDone(objects []object, notes map[string][]int) {
	for i := range objects {
		if done := notes[objects[i].tail]; done != nil {
			objects[i].done = slices.Max(done)
		}
	}
}
