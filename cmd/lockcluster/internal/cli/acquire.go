package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/lockcluster/lockcluster"
)

type acquireFlags struct {
	client clientFlags
	key    keyFlags
	who    ownerFlags
	user   string
	ttl    time.Duration
}

func (a *app) locksAcquireCommand() *cobra.Command {
	var f acquireFlags
	cmd := &cobra.Command{
		Use:   "acquire KEY (--owner ID | --pull N)",
		Short: "Take a lock",
		Long: `acquire takes a lock if it is free; it does not wait. If the same owner has it
already, that is as good. If another one holds it, the answer names the holder
and the exit code is 3.

The lock of a pull request never expires. With --ttl the lock of an --owner does,
unless it is acquired again in time.`,
		Example: `  lockcluster locks acquire acme/infra/./default/ --pull 7 --user ann
  lockcluster locks acquire group/sub/infra/net/default/ --repo group/sub/infra --owner ci-42 --ttl 10m`,
		Args: args(1, 1),
		RunE: a.withClient(&f.client, func(ctx context.Context, c *client, words []string) error {
			req, err := f.request(words[0])
			if err != nil {
				return err
			}
			if reading := f.key.reading(words[0], req.Key); reading != "" {
				say(a.Err, "%s\n", reading)
			}
			return a.acquire(ctx, c, req)
		}),
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVar(&f.who.id, "owner", "", "`id` of the owner, chosen by you")
	fs.IntVar(&f.who.pull, "pull", 0, "`number` of the pull request")
	fs.StringVar(&f.who.host, "host", "", "VCS host of the pull request")
	fs.StringVar(&f.user, "user", "", "`name` of the user, for display")
	fs.DurationVar(&f.ttl, "ttl", 0, "expire after this time; only with --owner")
	f.who.set = fs.Changed
	f.key.add(fs)
	a.addClientFlags(fs, &f.client)
	return cmd
}

func (f *acquireFlags) request(text string) (lockcluster.Acquire, error) {
	key, err := f.key.parse(text)
	if err != nil {
		return lockcluster.Acquire{}, err
	}
	if f.who.set("pull") && f.who.pull < 1 {
		return lockcluster.Acquire{}, badPull(f.who.pull)
	}
	owner, err := f.who.owner(key.Repo)
	switch {
	case err != nil:
		return lockcluster.Acquire{}, err
	case owner == nil:
		return lockcluster.Acquire{}, usagef("say who takes the lock: --owner ID or --pull N")
	case f.ttl < 0:
		return lockcluster.Acquire{}, usagef("--ttl %s: give a time above 0", f.ttl)
	case f.ttl > 0 && owner.ID == "":
		return lockcluster.Acquire{}, usagef("--ttl goes with --owner: the lock of a pull request never expires")
	}
	return lockcluster.Acquire{Key: key, Owner: *owner, User: f.user, TTL: f.ttl}, nil
}

// acquireAnswer is the JSON of acquire; the names are a contract.
type acquireAnswer struct {
	Acquired bool      `json:"acquired"`
	Token    string    `json:"token,omitempty"`
	Index    uint64    `json:"index"`
	Key      string    `json:"key"`
	Status   string    `json:"status"`
	Holder   *lockView `json:"holder,omitempty"`
	Note     string    `json:"note,omitempty"`
}

func (a *app) acquire(ctx context.Context, c *client, req lockcluster.Acquire) error {
	result, err := c.Do(ctx, lockcluster.RequestID{}, req)
	if err != nil {
		return err
	}
	answer := acquireAnswer{
		Acquired: result.Status == lockcluster.StatusGranted || result.Status == lockcluster.StatusAlreadyHeld,
		Index:    result.Index, Key: req.Key.Text(), Status: result.Status.String(), Holder: viewOf(result.Lock, c.systems(ctx)),
	}
	if answer.Acquired {
		answer.Token = result.Lock.Token.String()
		if req.TTL > 0 && result.Lock.TTL == 0 {
			answer.Note = "--ttl was not applied: the lock was taken without one and never expires; release it and acquire it again to change that"
		}
	}
	if err := a.print(answer, func(w io.Writer) error { return answer.write(w, result.Lock) }); err != nil {
		return err
	}
	switch {
	case answer.Acquired:
		return nil
	case result.Status == lockcluster.StatusHeld:
		return silent(exitRefused)
	}
	return fmt.Errorf("not acquired: %s", visible(result.Text))
}

func (answer *acquireAnswer) write(w io.Writer, lock *lockcluster.Lock) (err error) {
	switch {
	case lock == nil:
	case answer.Status == lockcluster.StatusGranted.String():
		_, err = fmt.Fprintf(w, "acquired %s for %s, token %s\n", visible(answer.Key), visible(lock.Owner.String()), answer.Token)
	case answer.Acquired:
		_, err = fmt.Fprintf(w, "%s had it already: %s, token %s\n", visible(lock.Owner.String()), visible(answer.Key), answer.Token)
		if answer.Note != "" && err == nil {
			_, err = fmt.Fprintln(w, answer.Note)
		}
	case answer.Status == lockcluster.StatusHeld.String():
		by := ""
		if lock.User != "" {
			by = " (" + visible(lock.User) + ")"
		}
		_, err = fmt.Fprintf(w, "not acquired: %s is held by %s%s since %s\n", visible(answer.Key), visible(lock.Owner.String()), by, shortTime(lock.AcquiredAt))
	}
	return err
}
