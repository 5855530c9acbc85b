package bridge

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// textSizeMax bounds one value: a longer one is nobody's intention.
const textSizeMax = 64 << 10

// durationMax keeps sums of durations far from overflow.
const durationMax = 10 * 365 * 24 * time.Hour

// Normal returns a value's normal form: equal values have equal texts. The
// error says what is wanted instead.
func (s *Setting) Normal(text string) (string, error) {
	if len(text) > textSizeMax {
		return "", fmt.Errorf("longer than %d bytes", textSizeMax)
	}
	text = strings.TrimSpace(text)
	switch s.Kind {
	case KindBool:
		b, err := strconv.ParseBool(strings.ToLower(text))
		if err != nil {
			return "", fmt.Errorf("want true or false, got %q", cut(text))
		}
		return strconv.FormatBool(b), nil
	case KindDuration:
		return s.normalDuration(text)
	case KindInt, KindPercent:
		return s.normalInt(text)
	case KindRatio, KindFactor:
		return s.normalFloat(text)
	case KindChoice:
		return s.normalChoice(text)
	case KindCanary:
		rules, err := ParseCanary(text)
		if err != nil {
			return "", err
		}
		return FormatCanary(rules), nil
	}
	return "", fmt.Errorf("setting %s has no kind", s.Name)
}

func (s *Setting) normalDuration(text string) (string, error) {
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		return "", fmt.Errorf("want a time such as 30s, 5m or 24h, got %q", cut(text))
	case d < 0, d == 0 && s.positive:
		return "", fmt.Errorf("want a time above 0, got %q", cut(text))
	case d > durationMax:
		return "", errors.New("want a time below ten years")
	}
	return formatDuration(d), nil
}

// formatDuration is [time.Duration.String] without "0s" and "0m" at the end.
func formatDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = text[:len(text)-2]
	}
	if strings.HasSuffix(text, "h0m") {
		text = text[:len(text)-2]
	}
	return text
}

func (s *Setting) normalInt(text string) (string, error) {
	least, most := int64(s.min), int64(s.max)
	if s.Kind == KindPercent {
		least, most = 0, 100
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < least || n > most {
		return "", fmt.Errorf("want a whole number from %d to %d, got %q", least, most, cut(text))
	}
	return strconv.FormatInt(n, 10), nil
}

func (s *Setting) normalFloat(text string) (string, error) {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return "", fmt.Errorf("want a number, got %q", cut(text))
	}
	if s.Kind == KindFactor {
		if f != 0 && (f < 1 || f > 1000) {
			return "", fmt.Errorf("want 0 (off) or a factor from 1 to 1000, got %q", cut(text))
		}
	} else if f < s.min || f > s.max {
		hint := ""
		if f > 1 && f <= 100 {
			hint = fmt.Sprintf("; %s %% is %s", text, formatFloat(f/100))
		}
		above := "from 0"
		if s.min > 0 {
			above = "above 0, up"
		}
		return "", fmt.Errorf("want a ratio %s to 1, got %q%s", above, cut(text), hint)
	}
	return formatFloat(math.Abs(f)), nil // -0 is 0
}

func formatFloat(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

func (s *Setting) normalChoice(text string) (string, error) {
	choice := strings.ReplaceAll(strings.ToLower(text), "_", "-")
	if other := s.synonyms[choice]; other != "" {
		choice = other
	}
	if !slices.Contains(s.Choices, choice) {
		last := len(s.Choices) - 1
		return "", fmt.Errorf("want %s or %s, got %q", strings.Join(s.Choices[:last], ", "), s.Choices[last], cut(text))
	}
	return choice, nil
}

// cut shortens a value for an error's text.
func cut(text string) string {
	const longest = 80
	if len(text) <= longest {
		return text
	}
	return strings.ToValidUTF8(text[:longest], "") + "..."
}

// permit refuses a value of a setting that is not available.
func (s *Setting) permit(normal string) error {
	if s.Available() || normal == s.Default {
		return nil
	}
	return fmt.Errorf("%s is not available in this version: %s; leave it at %s", normal, s.Missing, s.Default)
}
