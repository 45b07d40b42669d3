package connector

import "encoding/json"

// reference reads the item statuses of a response with the standard library. It decodes into maps, because struct
// fields match names without regard to case.
func reference(body []byte) (statuses []float64, valid bool) {
	var answer map[string]any
	if json.Unmarshal(body, &answer) != nil {
		return nil, false
	}
	items, valid := answer["items"].([]any)
	for _, item := range items {
		results, _ := item.(map[string]any)
		for _, result := range results {
			fields, _ := result.(map[string]any)
			status, _ := fields["status"].(float64)
			statuses = append(statuses, status)
		}
	}
	return statuses, valid
}
