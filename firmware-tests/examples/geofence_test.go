//go:build e2e

package examples

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

func TestGeofence(t *testing.T) {
	example{
		folder: "geofence",
		devices: map[string]device{
			"tractors": {publish: []string{"fleet/+/position"}},
			"office":   {subscribe: []string{"fleet/+/fence/+"}},
		},
		check:   checkGeofence,
		without: map[string]string{"geofence": "/fence/"},
	}.run(t)
}

type position struct {
	Lat float64 `json:"lat"`
	Lon float64 `json:"lon"`
	At  int     `json:"at"`
}

// fences are those of the manifest, as lat, lon.
var fences = map[string][][2]float64{
	"yard":  {{59.3200, 18.0500}, {59.3200, 18.0540}, {59.3220, 18.0540}, {59.3220, 18.0500}},
	"field": {{59.3210, 18.0520}, {59.3250, 18.0530}, {59.3250, 18.0600}, {59.3230, 18.0560}, {59.3210, 18.0600}},
}

// checkGeofence lets two tractors wander about, over a network that delivers
// late and twice.
func checkGeofence(ctx context.Context, s *site) error {
	office, err := s.listen(ctx, "office")
	if err != nil {
		return err
	}
	defer office.Close()
	told := 0
	for n, vehicle := range []string{"tractor-1", "tractor-2"} {
		random := rand.New(rand.NewPCG(7, uint64(n)))
		track := wander(random, 400)
		if err := s.publish(ctx, "tractors", "fleet/"+vehicle+"/position", disturbed(random, track)...); err != nil {
			return err
		}
		for fence, border := range fences {
			want := crossings(track, border)
			told += len(want)
			if err := s.exactly(ctx, office, "fleet/"+vehicle+"/fence/"+fence, want); err != nil {
				return err
			}
		}
	}
	if told < 12 {
		return fmt.Errorf("the tractors crossed a border %d times: too little to see", told)
	}
	s.say("2 tractors, 800 positions, %d crossings, as worked out", told)
	return nil
}

// wander is a walk in steps of some 15 m that turns back at the map's edge.
func wander(random *rand.Rand, steps int) (track []position) {
	lat, lon, heading := 59.3215, 18.0530, 0.0
	for at := range steps {
		heading += random.NormFloat64() * 0.4
		lat += 0.000135 * math.Cos(heading)
		lon += 0.000264 * math.Sin(heading)
		if lat < 59.3190 || lat > 59.3260 || lon < 18.0480 || lon > 18.0620 {
			heading = math.Atan2((18.0545-lon)/2, 59.3222-lat)
		}
		track = append(track, position{lat, lon, 1_700_000_000 + at})
	}
	return track
}

// disturbed is the track as it arrives: some positions again, some late, and
// some that are none.
func disturbed(random *rand.Rand, track []position) (sent []any) {
	for n, p := range track {
		sent = append(sent, p)
		switch random.IntN(8) {
		case 0:
			sent = append(sent, p)
		case 1:
			sent = append(sent, position{59.3215, 18.0520, track[0].At - 1 - random.IntN(100)})
		case 2:
			sent = append(sent, track[random.IntN(n+1)])
		case 3:
			sent = append(sent, []any{"no fix", `{"lat":59.3}`, `{"lat":259.32,"lon":18.05,"at":1800000000}`, `{"lat":59.3215,"lon":18.0520}`}[random.IntN(4)])
		}
	}
	return sent
}

// crossings is what has to be told of one fence.
func crossings(track []position, border [][2]float64) (told []any) {
	const margin = 10
	inside := false
	for _, p := range track {
		if away(p, border) <= margin || winds(p, border) == inside {
			continue
		}
		inside = !inside
		told = append(told, map[string]any{"inside": inside, "at": p.At})
	}
	return told
}

// winds reports whether the border winds around p: the angles at which its
// sides are seen add up to a full turn, and to nothing from outside.
func winds(p position, border [][2]float64) bool {
	sum := 0.0
	for i, b := range border {
		a := border[(i+len(border)-1)%len(border)]
		turn := math.Atan2(b[0]-p.Lat, b[1]-p.Lon) - math.Atan2(a[0]-p.Lat, a[1]-p.Lon)
		sum += math.Remainder(turn, 2*math.Pi)
	}
	return math.Abs(sum) > math.Pi
}

// away is the distance to the border in metres, by walking along it in steps
// of centimetres.
func away(p position, border [][2]float64) float64 {
	const metres = 111320
	nearest := math.Inf(1)
	for i, b := range border {
		a := border[(i+len(border)-1)%len(border)]
		for step := range 4001 {
			t := float64(step) / 4000
			north := (a[0] + t*(b[0]-a[0]) - p.Lat) * metres
			east := (a[1] + t*(b[1]-a[1]) - p.Lon) * metres * math.Cos(p.Lat*math.Pi/180)
			nearest = min(nearest, math.Hypot(north, east))
		}
	}
	return nearest
}
