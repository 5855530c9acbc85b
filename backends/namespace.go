package backends

import (
	"cmp"

	"github.com/lockcluster/lockcluster"
)

// NamespaceOf returns what a backend with these options covers, without opening
// it.
func NamespaceOf(o Options) (string, error) {
	if o.Backend != kindRedis || o.Namespace != "" {
		return cmp.Or(o.Namespace, lockcluster.DefaultNamespace), nil
	}
	address, err := parseRedisURL(o.URL)
	if err != nil {
		return "", err
	}
	return lockcluster.NamespaceOfDatabase(address.database), nil
}
