package cluster

import "testing"

func TestPodOf(t *testing.T) {
	const uid = "54f8920d-83fc-443f-93f5-a641b31063b7"
	for groups, want := range map[string]string{
		"12:cpu,cpuacct:/peppasync-1a/kubepods/burstable/pod" + uid + "/0a1b\n4:pids:/peppasync-1a/kubepods/burstable/pod" + uid + "/0a1b\n": uid,
		"0::/peppasync-1a/kubepods/pod" + uid + "/0a1b\n": uid,
		"4:pids:/peppasync-1a/node\n0::/\n":               "",
		"4:pids:/user/podman\n":                           "",
		"":                                                "",
	} {
		if got := podOf(groups); got != want {
			t.Errorf("%q: %q, want %q", groups, got, want)
		}
	}
}
