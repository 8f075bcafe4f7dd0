package uplink

import (
	"context"
	"strconv"
)

// numberKey is where the number of the newest connection is kept.
const numberKey = "uplink/connection"

// nextNumber is greater than that of every connection before: the clock's
// nanoseconds, so that a gateway whose disk went back goes on above what the
// controller knows, and one more than the last where the clock went back.
func (u *Uplink) nextNumber(ctx context.Context) uint64 {
	now := uint64(max(u.cfg.Now().UnixNano(), 0))
	if u.cfg.Memory == nil {
		u.number = max(u.number+1, now)
		return u.number
	}
	if u.number == 0 {
		raw, err := u.cfg.Memory.Meta(ctx, numberKey)
		if n, wrong := strconv.ParseUint(string(raw), 10, 63); err == nil && wrong == nil {
			u.number = n
		}
	}
	u.number = max(u.number+1, now)
	if err := u.cfg.Memory.SetMeta(ctx, numberKey, strconv.AppendUint(nil, u.number, 10)); err != nil {
		u.cfg.Logger.Warn("the number of the connection is not kept: if the clock goes back the controller takes the next for an old one", "error", err)
	}
	return u.number
}
