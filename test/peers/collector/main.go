// Command collector delivers events with the OpenTelemetry Collector's exporter for Splunk HEC, without queue and
// without retries: it parses an event as the Collector's receivers do, into a log record with a structured body, and
// exports.
// https://github.com/open-telemetry/opentelemetry-collector-contrib/tree/main/exporter/splunkhecexporter
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/goccy/go-json"
	"github.com/open-telemetry/opentelemetry-collector-contrib/exporter/splunkhecexporter"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exporterhelper"
	"go.opentelemetry.io/collector/exporter/exportertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/arbitex/siem-connectors/test/peers/feed"
)

func main() {
	if err := run(context.Background(), feed.Parse()); err != nil {
		fmt.Fprintln(os.Stderr, "collector:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o feed.Order) error {
	e, err := open(ctx, o)
	if err != nil {
		return err
	}
	defer e.Shutdown(ctx) //nolint:errcheck // everything was delivered or the error is returned
	return feed.Run(ctx, o, func(ctx context.Context, batch [][]byte) error {
		logs, err := parse(batch)
		if err != nil {
			return err
		}
		return e.ConsumeLogs(ctx, logs)
	})
}

func open(ctx context.Context, o feed.Order) (exporter.Logs, error) {
	factory := splunkhecexporter.NewFactory()
	cfg, ok := factory.CreateDefaultConfig().(*splunkhecexporter.Config)
	if !ok {
		return nil, fmt.Errorf("the exporter's configuration is a %T", factory.CreateDefaultConfig())
	}
	cfg.ClientConfig.Endpoint = o.URL
	cfg.Token = configopaque.String("token")
	cfg.Source, cfg.SourceType, cfg.Index = "arbitex", "arbitex:audit", "main"
	cfg.DisableCompression = !o.Gzip
	cfg.QueueSettings = configoptional.None[exporterhelper.QueueBatchConfig]()
	cfg.BackOffConfig.Enabled = false
	e, err := factory.CreateLogs(ctx, exportertest.NewNopSettings(factory.Type()), cfg)
	if err != nil {
		return nil, err
	}
	return e, e.Start(ctx, componenttest.NewNopHost())
}

func parse(batch [][]byte) (plog.Logs, error) {
	logs := plog.NewLogs()
	records := logs.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords()
	records.EnsureCapacity(len(batch))
	for _, text := range batch {
		var event map[string]any
		if err := json.Unmarshal(text, &event); err != nil {
			return logs, err
		}
		r := records.AppendEmpty()
		if ms, ok := event["time"].(float64); ok {
			r.SetTimestamp(pcommon.NewTimestampFromTime(time.UnixMilli(int64(ms))))
		}
		if err := r.Body().SetEmptyMap().FromRaw(event); err != nil {
			return logs, err
		}
	}
	return logs, nil
}
