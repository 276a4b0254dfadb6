package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
)

// Ports in the node's network namespace, which nobody else has.
const (
	etcdPort = "2379"
	peerPort = "2380"
	apiPort  = "6443"
)

const (
	clusterDomain = "cluster.local"
	dnsAddress    = "10.96.0.10"
)

// server is the API server's address for all that run in the namespace.
const server = "https://" + nodeAddress + ":" + apiPort

func (n *Node) makeIdentity() error {
	keys, err := newIdentity(n.path("keys"), n.nodeName())
	if err != nil {
		return err
	}
	names := []string{
		"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + clusterDomain,
	}
	if err := keys.issueServer("kube-apiserver", names, "127.0.0.1", nodeAddress, serviceAddress); err != nil {
		return err
	}
	if err := keys.issueClient("kube-apiserver-kubelet-client", "system:masters"); err != nil {
		return err
	}
	for user := range users(n.nodeName()) {
		if err := keys.writeKubeconfig(n.kubeconfigOf(user), user, server); err != nil {
			return err
		}
	}
	n.keys = keys
	return nil
}

func (n *Node) kubeconfigOf(user string) string {
	return n.path(filepath.Join("kubeconfigs", user))
}

func (n *Node) startAPI(ctx context.Context) error {
	if _, err := n.start(ctx, "etcd", n.programs["etcd"], etcdFlags(n.remains.Dir, etcdPort, peerPort)...); err != nil {
		return err
	}
	flags := append(apiserverFlags(n.keys, etcdPort, apiPort),
		"--advertise-address="+nodeAddress, // a loopback address is refused
		"--enable-admission-plugins=NodeRestriction",
		"--kubelet-client-certificate="+n.keys.file("kube-apiserver-kubelet-client.crt"),
		"--kubelet-client-key="+n.keys.file("kube-apiserver-kubelet-client.key"),
		// By its name, which no DNS knows, the logs of a pod would not be found.
		"--kubelet-preferred-address-types=InternalIP",
	)
	if _, err := n.start(ctx, "kube-apiserver", n.programs["kube-apiserver"], flags...); err != nil {
		return err
	}
	client := n.keys.client(n.Dial)
	defer client.CloseIdleConnections()
	return until(ctx, n.components, func(ctx context.Context) error {
		return n.keys.askReady(ctx, client, net.JoinHostPort(nodeAddress, apiPort))
	})
}

// startControllers starts what acts on the resources, the kubelet included.
func (n *Node) startControllers(ctx context.Context) error {
	if _, err := n.start(ctx, "kube-controller-manager", n.programs["kube-controller-manager"],
		"--kubeconfig="+n.kubeconfigOf("system:kube-controller-manager"),
		"--use-service-account-credentials=true",
		"--service-account-private-key-file="+n.keys.file("service-accounts.key"),
		"--root-ca-file="+n.keys.file("ca.crt"),
		"--cluster-signing-cert-file="+n.keys.file("ca.crt"),
		"--cluster-signing-key-file="+n.keys.file("ca.key"),
		"--leader-elect=false",
		"--bind-address=127.0.0.1",
		"--profiling=false",
	); err != nil {
		return err
	}
	if _, err := n.start(ctx, "kube-scheduler", n.programs["kube-scheduler"],
		"--kubeconfig="+n.kubeconfigOf("system:kube-scheduler"),
		"--leader-elect=false",
		"--bind-address=127.0.0.1",
		"--profiling=false",
	); err != nil {
		return err
	}
	if err := n.startProxy(ctx); err != nil {
		return err
	}
	return n.startKubelet(ctx)
}

func (n *Node) startProxy(ctx context.Context) error {
	type object = map[string]any
	config, err := json.MarshalIndent(object{
		"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
		"mode":             "iptables",
		"hostnameOverride": n.nodeName(),
		"clusterCIDR":      podRange,
		"clientConnection": object{"kubeconfig": n.kubeconfigOf("system:kube-proxy")},
		// These settings are the machine's; zero leaves them alone.
		"conntrack": object{"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
		"iptables":  object{"localhostNodePorts": false, "minSyncPeriod": "100ms"},
	}, "", "  ")
	if err != nil {
		return err
	}
	if err := n.write("kube-proxy.json", config); err != nil {
		return err
	}
	_, err = n.start(ctx, "kube-proxy", n.programs["kube-proxy"], "--config="+n.path("kube-proxy.json"))
	return err
}

// startPolicies starts the part of kube-router that turns network policies into
// rules of iptables. kube-network-policies, which is smaller, needs a queue of
// nftables that not every kernel has.
func (n *Node) startPolicies(ctx context.Context) error {
	_, err := n.start(ctx, "kube-router", n.programs["kube-router"],
		"--run-firewall=true", "--run-router=false", "--run-service-proxy=false", "--run-loadbalancer=false",
		"--kubeconfig="+n.kubeconfigOf(policyUser),
		"--hostname-override="+n.nodeName(),
		"--service-cluster-ip-range="+serviceRange,
		"--health-port=0",
		"--metrics-port=0",
	)
	return err
}

// startKubelet runs it in the mount namespace of containerd: what it mounts
// for a pod, containerd has to see.
func (n *Node) startKubelet(ctx context.Context) error {
	// A pod that asks for the machine's own resolver finds one that knows nothing.
	if err := n.write("resolv.conf", []byte("nameserver "+nodeAddress+"\n")); err != nil {
		return err
	}
	config, err := json.MarshalIndent(n.kubeletConfig(), "", "  ")
	if err != nil {
		return err
	}
	if err := n.write("kubelet.json", config); err != nil {
		return err
	}
	n.kubelet, err = n.start(ctx, "kubelet", "nsenter",
		fmt.Sprintf("--mount=/proc/%d/ns/mnt", n.containerd.command.Process.Pid), "--",
		n.programs["kubelet"],
		"--config="+n.path("kubelet.json"),
		"--kubeconfig="+n.kubeconfigOf("system:node:"+n.nodeName()),
		"--hostname-override="+n.nodeName(),
		"--node-ip="+nodeAddress,
		"--root-dir="+n.path("kubelet"),
		"--cert-dir="+n.path("kubelet-keys"),
	)
	return err
}

func (n *Node) kubeletConfig() map[string]any {
	type object = map[string]any
	return object{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"containerRuntimeEndpoint": "unix://" + n.path("containerd.sock"),
		"cgroupDriver":             "cgroupfs",
		"cgroupRoot":               "/" + n.remains.name(),
		"failCgroupV1":             false,
		"failSwapOn":               false,
		"clusterDNS":               []string{dnsAddress},
		"clusterDomain":            clusterDomain,
		"resolvConf":               n.path("resolv.conf"),
		"podLogsDir":               n.path("pod-logs"),
		"volumePluginDir":          n.path("kubelet-plugins"),
		"authentication": object{
			"anonymous": object{"enabled": false},
			"webhook":   object{"enabled": true},
			"x509":      object{"clientCAFile": n.keys.file("ca.crt")},
		},
		"authorization": object{"mode": "Webhook"},
		// How full the machine's disk is says nothing about the pods: by default
		// they would be evicted where less than a tenth is free.
		"evictionHard": map[string]string{
			"memory.available": "100Mi", "nodefs.available": "200Mi", "imagefs.available": "200Mi",
			"nodefs.inodesFree": "1%", "imagefs.inodesFree": "1%",
		},
		// Images come by Import only, so one that was collected would be gone.
		"imageGCHighThresholdPercent": 100,
		"imageGCLowThresholdPercent":  99,
		"maxPods":                     110,
		"syncFrequency":               "10s",
		"nodeStatusUpdateFrequency":   "5s",
		"enableDebuggingHandlers":     true, // logs, exec and port-forward
		"readOnlyPort":                0,
		"healthzPort":                 0,
	}
}

// nodeName is what the resource of this node is called.
func (*Node) nodeName() string { return "peppasync" }

func quantity(gibibytes int) string { return strconv.Itoa(gibibytes) + "Gi" }
