package tail_test

import (
	"context"
	"reflect"
	"testing"
	"testing/synctest"

	"github.com/headgate-io/headgate/gateway/tail"
)

func TestLastKeepsTheNewestInOrder(t *testing.T) {
	r := tail.NewRing[int](4)
	for i := range 10 {
		r.Add(i)
	}
	for _, c := range []struct {
		limit int
		keep  func(*int) bool
		want  []int
	}{
		{100, nil, []int{6, 7, 8, 9}},
		{2, nil, []int{8, 9}},
		{100, func(i *int) bool { return *i%2 == 0 }, []int{6, 8}},
		{1, func(i *int) bool { return *i < 0 }, nil},
	} {
		if got := r.Last(c.limit, c.keep); !reflect.DeepEqual(got, c.want) {
			t.Errorf("Last(%d) = %v, want %v", c.limit, got, c.want)
		}
	}
}

func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := tail.NewRing[int](4)
		r.Add(1)
		ctx, cancel := context.WithCancel(t.Context())
		var got []int
		go func() {
			for i := range r.Follow(ctx, 10, func(i *int) bool { return *i != 2 }) {
				got = append(got, i)
			}
		}()
		synctest.Wait()
		r.Add(2)
		r.Add(3)
		synctest.Wait()
		cancel()
		synctest.Wait()
		r.Add(4)
		if want := []int{1, 3}; !reflect.DeepEqual(got, want) {
			t.Errorf("followed %v, want %v", got, want)
		}
	})
}

func TestSlowFollowerIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := tail.NewRing[int](4)
		release := make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			for range r.Follow(ctx, 0, nil) {
				<-release
			}
		}()
		synctest.Wait()
		for i := range 5000 {
			r.Add(i)
		}
		if r.Missed() == 0 {
			t.Error("a follower that never reads missed nothing: the buffer has no bound")
		}
		cancel()
		close(release)
	})
}
