package deployed

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
)

// LogLine is one line of a function's log.
type LogLine struct {
	ID   string // unique in the log group
	Time time.Time
	Text string
}

// ErrNoLog means that the stack has no log group for a function, or that the group has not been written to.
var ErrNoLog = errors.New("no log group")

// LogQuery selects lines of a log.
type LogQuery struct {
	From, To time.Time // by the time of the line, To exclusive; a zero To means no limit
	Pattern  string    // a filter pattern of CloudWatch Logs; "" selects every line
}

// Log calls take for each selected line of a function's log group, in the order of CloudWatch Logs. The id is the
// prefix of the function's logical ids.
func (s *Stack) Log(ctx context.Context, id string, q LogQuery, take func(LogLine)) error {
	doing := "reading the log of " + id
	group := s.physical[id+"LogGroup"]
	if group == "" {
		return &Error{Doing: doing, Err: fmt.Errorf("%w in the stack %q", ErrNoLog, s.Name)}
	}
	in := &cloudwatchlogs.FilterLogEventsInput{LogGroupName: &group, StartTime: aws.Int64(q.From.UnixMilli())}
	if !q.To.IsZero() {
		in.EndTime = aws.Int64(q.To.UnixMilli())
	}
	if q.Pattern != "" {
		in.FilterPattern = &q.Pattern
	}
	pages := cloudwatchlogs.NewFilterLogEventsPaginator(s.logs, in)
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if _, missing := errors.AsType[*types.ResourceNotFoundException](err); missing {
			return &Error{Doing: doing, Err: fmt.Errorf("%w %s", ErrNoLog, group)}
		}
		if err != nil {
			return failed(doing, err)
		}
		for _, e := range page.Events {
			take(LogLine{aws.ToString(e.EventId), time.UnixMilli(aws.ToInt64(e.Timestamp)).UTC(), aws.ToString(e.Message)})
		}
	}
	return nil
}
