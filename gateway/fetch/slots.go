package fetch

import (
	"context"
	"sync"
)

// slots bounds the calls under way, in all and of each function. Who finds none
// waits; a function that has all of its own does not take others'.
type slots struct {
	all chan struct{}
	per int

	mu      sync.Mutex // guards what follows
	of      map[string]*own
	waiting int
}

// own are the slots of one function, while it uses or wants any.
type own struct {
	slots chan struct{}
	users int
}

func (s *slots) init(all, per int) {
	s.all, s.per, s.of = make(chan struct{}, all), per, map[string]*own{}
}

// enter waits for a slot until ctx ends.
func (s *slots) enter(ctx context.Context, function string) (leave func(), err error) {
	s.mu.Lock()
	o := s.of[function]
	if o == nil {
		o = &own{slots: make(chan struct{}, s.per)}
		s.of[function] = o
	}
	o.users++
	s.waiting++
	s.mu.Unlock()
	err = take(ctx, o.slots)
	if err == nil {
		if err = take(ctx, s.all); err != nil {
			<-o.slots
		}
	}
	s.mu.Lock()
	s.waiting--
	s.mu.Unlock()
	if err != nil {
		s.forget(function, o)
		return nil, err
	}
	return func() {
		<-s.all
		<-o.slots
		s.forget(function, o)
	}, nil
}

func take(ctx context.Context, from chan struct{}) error {
	select {
	case from <- struct{}{}:
		return nil
	default:
	}
	select {
	case from <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *slots) forget(function string, o *own) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.users--; o.users == 0 {
		delete(s.of, function)
	}
}

func (s *slots) counts() (active, waiting int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all), s.waiting
}
