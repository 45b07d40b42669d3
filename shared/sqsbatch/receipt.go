package sqsbatch

import (
	"context"

	"github.com/aws/aws-lambda-go/lambdacontext"

	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/jsonscan"
)

// maxLine bounds a line of receipts: the largest event that CloudWatch Logs keeps.
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html
const maxLine = 256 << 10

// appendReceipt appends the receipt of a delivered event: ["<event id>","<hash of its content>"].
func appendReceipt(dst []byte, e *event.Event) []byte {
	dst = append(dst, '[')
	start := len(dst)
	dst = event.QuoteFrom(appendLogID(dst, e), start)
	dst = append(dst, `,"`...)
	dst = e.AppendContentHash(dst)
	return append(dst, `"]`...)
}

// writeReceipts writes the receipts collected so far, in as few lines as the limit allows.
//
//	{"receipt":{"stack":"…","connector":"…","at":"…","request":"…","delivered":[["…","…"],…]}}
func (b *batch) writeReceipts(ctx context.Context) {
	r := &b.report
	if len(r.receiptEnds) == 0 {
		return
	}
	line := append(make([]byte, 0, min(maxLine, len(r.receipts)+len(r.receiptEnds)+512)), `{"receipt":{"stack":`...)
	line = jsonscan.AppendQuoted(line, b.Stack)
	line = append(line, `,"connector":`...)
	line = jsonscan.AppendQuoted(line, b.Connector)
	line = append(line, `,"at":"`...)
	line = b.Now().UTC().AppendFormat(line, timeLayout)
	line = append(line, `","request":`...)
	request := ""
	if lc, ok := lambdacontext.FromContext(ctx); ok {
		request = lc.AwsRequestID
	}
	line = jsonscan.AppendQuoted(line, request)
	line = append(line, `,"delivered":[`...)
	const tail = "]}}\n"
	head, start := len(line), 0
	for _, end := range r.receiptEnds {
		receipt := r.receipts[start:end]
		start = end
		if len(line)+len(",")+len(receipt)+len(tail) > maxLine {
			_, _ = b.Out.Write(append(line, tail...)) // an error of standard output cannot be reported anywhere
			line = line[:head]
		}
		if len(line) > head {
			line = append(line, ',')
		}
		line = append(line, receipt...)
	}
	_, _ = b.Out.Write(append(line, tail...)) // as above
	r.receipts, r.receiptEnds = r.receipts[:0], r.receiptEnds[:0]
}
