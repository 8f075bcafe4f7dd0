package sensors

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"periph.io/x/conn/v3/physic"
)

func TestConvert(t *testing.T) {
	for _, c := range []struct {
		v    float64
		from Unit
		to   Unit
		want float64
	}{
		{2, LiterPerMinute, "l/h", 120},
		{1, "m³/h", LiterPerMinute, 1000.0 / 60},
		{1, "gal/min", LiterPerMinute, 3.785411784},
		{0, Celsius, "K", 273.15},
		{212, "°F", Celsius, 100},
		{-40, Celsius, "°F", -40},
		{1013.25, Hectopascal, "kPa", 101.325},
		{1, "bar", Hectopascal, 1000},
		{14.503773773, "psi", "bar", 1},
		{1200, Millivolt, Volt, 1.2},
		{60, "rpm", Hertz, 1},
		{1, "mS/cm", "µS/cm", 1000},
		{36, "km/h", "m/s", 10},
		{7, Percent, Percent, 7},
	} {
		got, err := c.from.Convert(c.v, c.to)
		if err != nil || math.Abs(got-c.want) > 1e-9*max(1, math.Abs(c.want)) {
			t.Errorf("%v %s = %v %s (%v), want %v", c.v, c.from, got, c.to, err, c.want)
		}
	}
	if _, err := Volt.Convert(1, Celsius); err == nil || err.Error() != "V (voltage) cannot be given in °C (temperature)" {
		t.Errorf("V to °C: %v", err)
	}
}

// TestUnitTable holds what the code relies on: every alias in lower case, and
// no spelling of two units.
func TestUnitTable(t *testing.T) {
	seen := map[string]Unit{}
	for _, u := range units {
		for _, s := range append([]string{string(u.symbol)}, u.aliases...) {
			if other, ok := seen[s]; ok {
				t.Errorf("%q is both %s and %s", s, other, u.symbol)
			}
			seen[s] = u.symbol
			if got, err := ParseUnit(s); err != nil || got != u.symbol {
				t.Errorf("ParseUnit(%q) = %q, %v; want %q", s, got, err, u.symbol)
			}
		}
		if u.scale == 0 {
			t.Errorf("%s has no scale", u.symbol)
		}
	}
}

func TestParseQuantity(t *testing.T) {
	for s, want := range map[string]Quantity{
		"2 l/min":   {2, LiterPerMinute},
		"4.096V":    {4.096, Volt},
		"1.2e3 Pa":  {1200, "Pa"},
		"-3.5 C":    {-3.5, Celsius},
		"35 %":      {35, Percent},
		"35%":       {35, Percent},
		"6.8":       {6.8, One},
		" 10 M3/h ": {10, "m³/h"},
	} {
		if got, err := ParseQuantity(s); err != nil || got != want {
			t.Errorf("ParseQuantity(%q) = %v, %v; want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "l/min", "2 furlongs", "1..2 V", "NaN", "inf V", "2 l/mn"} {
		if q, err := ParseQuantity(s); err == nil {
			t.Errorf("ParseQuantity(%q) = %v, want an error", s, q)
		}
	}
}

func FuzzParseQuantity(f *testing.F) {
	for _, s := range []string{"2 l/min", "4.096V", "1e3", "1e", "e", "°C", "-.5 µS/cm"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		q, err := ParseQuantity(s)
		if err != nil {
			return
		}
		again, err := ParseQuantity(q.String())
		if err != nil || again != q {
			t.Fatalf("%q is %v, which reads back as %v (%v)", s, q, again, err)
		}
	})
}

func TestPhysic(t *testing.T) {
	for _, c := range []struct {
		got  Quantity
		want string
	}{
		{Temperature(physic.ZeroCelsius + 25*physic.Celsius), "25 °C"},
		{Humidity(45 * physic.PercentRH), "45 %"},
		{Pressure(101325 * physic.Pascal), "1013.25 hPa"},
		{Potential(1200 * physic.MilliVolt), "1.2 V"},
		{Frequency(50 * physic.Hertz), "50 Hz"},
	} {
		if c.got.String() != c.want {
			t.Errorf("%v, want %s", c.got, c.want)
		}
	}
	if v, err := (Quantity{250, Millivolt}).Potential(); err != nil || v != 250*physic.MilliVolt {
		t.Errorf("250 mV = %v, %v", v, err)
	}
}

func TestBoard(t *testing.T) {
	now := time.Unix(1000, 0)
	b := NewBoard(func() time.Time { return now })
	b.Declare(Info{Name: "soil-1", Unit: Percent, StaleAfter: time.Minute})
	if r, ok := b.Latest("soil-1"); !ok || r.Valid || r.Quality != Unread || r.Unit != Percent {
		t.Fatalf("before the first reading: %+v, %v", r, ok)
	}
	if _, ok := b.Latest("soil-2"); ok {
		t.Fatal("a sensor that is not there has a reading")
	}
	var told []Reading
	stop := b.Watch(func(r Reading) { told = append(told, r) })
	b.Put(Reading{Sensor: "soil-1", Value: 31, Unit: Percent, Valid: true, Quality: Good, At: now})
	b.Put(Reading{Sensor: "stranger", Value: 1})
	stop()
	b.Put(Reading{Sensor: "soil-1", Value: 32, Unit: Percent, Valid: true, Quality: Good, At: now})
	if len(told) != 1 || told[0].Value != 31 || told[0].Sequence != 1 {
		t.Fatalf("told %+v", told)
	}
	now = now.Add(time.Minute)
	if r, _ := b.Latest("soil-1"); r.Value != 32 || r.Quality != Good || r.Age != time.Minute || r.Sequence != 2 {
		t.Fatalf("after a minute: %+v", r)
	}
	now = now.Add(time.Second)
	if r, _ := b.Latest("soil-1"); r.Quality != Stale || r.Value != 32 || r.Fault != "no reading for 1m1s" {
		t.Fatalf("after more: %+v", r)
	}
	if all, infos := b.All(), b.Sensors(); len(all) != 1 || len(infos) != 1 || infos[0].Unit != Percent {
		t.Fatalf("%v %v", all, infos)
	}
}

func TestReadingJSON(t *testing.T) {
	at := time.Date(2026, 5, 1, 6, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		r    Reading
		want string
	}{
		{
			Reading{Sensor: "soil-1", Value: 31.200000000000003, Unit: Percent, Valid: true, Quality: Good, At: at, Age: 1200 * time.Millisecond, Sequence: 7},
			`{"value":31.2,"unit":"%","quality":"good","age_ms":1200,"at":"2026-05-01T06:00:00.000Z","sensor":"soil-1","seq":7}`,
		},
		// A value that is not good is not called value: nobody uses it by mistake.
		{
			Reading{Sensor: "soil-1", Value: 31.2, Unit: Percent, Valid: true, Quality: Bad, Fault: "gone", At: at, Age: time.Minute, Sequence: 8},
			`{"unit":"%","quality":"bad","age_ms":60000,"at":"2026-05-01T06:00:00.000Z","last":31.2,"fault":"gone","sensor":"soil-1","seq":8}`,
		},
		{Reading{Sensor: "ph", Quality: Unread}, `{"quality":"unread","age_ms":0,"sensor":"ph","seq":0}`},
		{Reading{Sensor: "z", Valid: true, Quality: Good, At: at, Sequence: 1}, `{"value":0,"quality":"good","age_ms":0,"at":"2026-05-01T06:00:00.000Z","sensor":"z","seq":1}`},
	} {
		got, err := json.Marshal(c.r)
		if err != nil || string(got) != c.want {
			t.Errorf("%s (%v)\nwant %s", got, err, c.want)
		}
		var again Reading
		c.r.Value = round(c.r.Value)
		if err := json.Unmarshal(got, &again); err != nil || again != c.r {
			t.Errorf("%s reads back as %+v (%v), want %+v", got, again, err, c.r)
		}
	}
}
