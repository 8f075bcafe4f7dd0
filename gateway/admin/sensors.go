package admin

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/headgate-io/headgate/gateway/admin/api"
)

// Sensors shows the sensors, and what else is connected.
type Sensors interface {
	Sensors() []api.Sensor
	// Sensor returns one; fresh has it read now.
	Sensor(ctx context.Context, name string, fresh bool) (api.Sensor, error)
	// Hardware looks who is there.
	Hardware(ctx context.Context) (api.Hardware, error)
}

func (s *Server) sensors(a huma.API) {
	huma.Register(a, op("list-sensors", http.MethodGet, "/v1/sensors", "List the sensors with their latest readings"), func(context.Context, *none) (*body[[]api.Sensor], error) {
		return answer(s.deps.Sensors.Sensors(), nil)
	})
	type one struct {
		Name  string `path:"name" maxLength:"128"`
		Fresh bool   `query:"fresh" doc:"Read it now, and answer with what that gives."`
	}
	huma.Register(a, op("read-sensor", http.MethodGet, "/v1/sensors/{name}", "Show a sensor with its latest reading"), func(ctx context.Context, in *one) (*body[api.Sensor], error) {
		return answer(s.deps.Sensors.Sensor(ctx, in.Name, in.Fresh))
	})
	huma.Register(a, op("scan-hardware", http.MethodPost, "/v1/hardware", "Look who is connected to the pins and buses"), func(ctx context.Context, _ *none) (*body[api.Hardware], error) {
		return answer(s.deps.Sensors.Hardware(ctx))
	})
}
