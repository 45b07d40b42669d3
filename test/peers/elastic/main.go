// Command elastic delivers events with Elastic's Go client and its bulk indexer, one request a batch. It parses each
// event for its id, which prevents duplicates.
// https://pkg.go.dev/github.com/elastic/go-elasticsearch/v9/esutil
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"github.com/elastic/go-elasticsearch/v9"
	"github.com/elastic/go-elasticsearch/v9/esutil"

	"github.com/arbitex/siem-connectors/test/peers/feed"
)

func main() {
	if err := run(context.Background(), feed.Parse()); err != nil {
		fmt.Fprintln(os.Stderr, "elastic:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o feed.Order) error {
	client, err := elasticsearch.NewClient(elasticsearch.Config{
		Addresses: []string{o.URL}, APIKey: "aWQ6a2V5", CompressRequestBody: o.Gzip, CompressRequestBodyLevel: 1,
		PoolCompressor: true, DisableRetry: true,
	})
	if err != nil {
		return err
	}
	return feed.Run(ctx, o, func(ctx context.Context, batch [][]byte) error { return send(ctx, client, batch) })
}

func send(ctx context.Context, client *elasticsearch.Client, batch [][]byte) error {
	size := 1024
	for _, text := range batch {
		size += len(text) + 128 // the action's line
	}
	indexer, err := esutil.NewBulkIndexer(esutil.BulkIndexerConfig{Client: client, NumWorkers: 1, FlushBytes: size,
		Index: "arbitex-audit"})
	if err != nil {
		return err
	}
	var failed atomic.Int64
	for _, text := range batch {
		var event struct {
			Metadata struct {
				UID string `json:"uid"`
			} `json:"metadata"`
		}
		if err := json.Unmarshal(text, &event); err != nil {
			return err
		}
		if err := indexer.Add(ctx, esutil.BulkIndexerItem{
			Action: "index", DocumentID: event.Metadata.UID, Body: bytes.NewReader(text),
			OnFailure: func(context.Context, esutil.BulkIndexerItem, esutil.BulkIndexerResponseItem, error) { failed.Add(1) },
		}); err != nil {
			return err
		}
	}
	if err := indexer.Close(ctx); err != nil {
		return err
	}
	if failed.Load() > 0 || indexer.Stats().NumIndexed != uint64(len(batch)) {
		return errors.New("not all events were indexed")
	}
	return nil
}
