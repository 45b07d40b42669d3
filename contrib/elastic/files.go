// Package elastic embeds this pack's index templates and ingest pipelines.
package elastic

import "embed"

// Files are index-template.json and ingest-pipeline.json, and their variants in folders.
//
//go:embed index-template.json ingest-pipeline.json elasticsearch-7.10 opensearch
var Files embed.FS
