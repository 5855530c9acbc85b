package bridge

import "slices"

// Row says of one setting what it is here and what it is set to.
type Row struct {
	Setting   string   `json:"setting"`
	Aliases   []string `json:"aliases,omitempty"`
	Item      string   `json:"item,omitempty"`
	Env       []string `json:"env"`
	Flag      string   `json:"flag"`
	Part      string   `json:"lockcluster"` // what it is called here
	Kind      Kind     `json:"type"`
	Choices   []string `json:"choices,omitempty"`
	Value     string   `json:"value"`
	Default   string   `json:"default"`
	Source    Source   `json:"source"`
	Place     string   `json:"place,omitempty"`
	Live      bool     `json:"live"` // "config set" changes it
	Available bool     `json:"available"`
	Missing   string   `json:"not_available_because,omitempty"`
	Meaning   string   `json:"meaning"`
}

// Mapping returns a row for every setting, in the order of [Settings].
func Mapping(v Values) []Row {
	rows := make([]Row, 0, len(registry))
	for i := range registry {
		s := &registry[i]
		row := Row{
			Setting: s.Name, Aliases: slices.Clone(s.Aliases), Item: s.Item, Env: s.Env(), Flag: "--" + s.Flag(), Part: s.Part,
			Kind: s.Kind, Choices: slices.Clone(s.Choices), Value: s.Default, Default: s.Default, Source: SourceDefault,
			Live: !s.NodeOnly, Available: s.Available(), Missing: s.Missing, Meaning: s.Meaning,
		}
		if value, given := v[s.Name]; given {
			row.Value, row.Source, row.Place = value.Text, value.Source, value.At.String()
		}
		rows = append(rows, row)
	}
	return rows
}
