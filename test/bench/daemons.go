package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// daemon measures a syslog server that follows a file and forwards new lines over TCP, from the moment when the events
// are appended to the arrival of the last line.
func daemon(name string, config func(*sink, *work, string) string, args func(dir string) []string) func(*sink,
	*work) (result, error) {
	return func(s *sink, w *work) (result, error) {
		program, err := find(name)
		if err != nil {
			return result{}, err
		}
		dir, err := os.MkdirTemp("", "bench")
		if err != nil {
			return result{}, err
		}
		defer os.RemoveAll(dir)
		in := filepath.Join(dir, "in")
		for path, text := range map[string]string{in: "", filepath.Join(dir, "conf"): config(s, w, in)} {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				return result{}, err
			}
		}
		cmd := exec.Command(program, args(dir)...)
		var said bytes.Buffer
		cmd.Stderr = &said
		if err := cmd.Start(); err != nil {
			return result{}, err
		}
		defer cmd.Wait()         //nolint:errcheck // it was killed
		defer cmd.Process.Kill() //nolint:errcheck // it may have ended by itself
		text, err := os.ReadFile(w.file)
		if err != nil {
			return result{}, err
		}
		lines := strings.SplitAfterN(string(text), "\n", warmUp*w.batch+1)
		if err := add(s, in, strings.Join(lines[:len(lines)-1], ""), len(lines)-1); err != nil {
			return result{}, fmt.Errorf("warming up: %w; it said %.1000q", err, said.String())
		}
		counted, before := s.counts(), cpuOf(cmd.Process.Pid)
		if err := add(s, in, string(text), w.count); err != nil {
			return result{}, err
		}
		r, err := account(counted, s.counts(), w.count, cpuOf(cmd.Process.Pid)-before)
		r.rss = rssOf(cmd.Process.Pid)
		return r, err
	}
}

// add appends lines to the file, and waits until they have arrived.
func add(s *sink, file, text string, lines int) error {
	want := s.events.Load() + int64(lines)
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		return err
	}
	for end := time.Now().Add(time.Minute); s.events.Load() < want; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("%d lines are missing", want-s.events.Load())
		}
	}
	return nil
}

// find returns the path of a daemon: an installed one, or the one of `make syslog-daemons`.
func find(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	return exec.LookPath(filepath.Join("build", "bin", name))
}

// cef is the message of the QRadar connector, with the daemon's names of an event's fields.
func cef(open, separator, end string) string {
	field := func(path string) string { return open + strings.ReplaceAll(path, ".", separator) + end }
	return "<134>1 - platform.arbitex.ai ArbitexPlatform - " + field("api.request.uid") +
		" - CEF:0|Arbitex|ArbitexPlatform|1.0|" +
		field("class_uid") + "|" + field("api.operation") + "|3|rt=" + field("time") + " suser=" +
		field("actor.user.email_addr") +
		" duid=" + field("actor.user.uid") + " act=" + field("unmapped.policy_action") + " model=" +
		field("unmapped.model_id") +
		" tokenIn=" + field("unmapped.tokens_input") + " tokenOut=" + field("unmapped.tokens_output") +
		" cs1Label=PolicyAction cs1=" + field("unmapped.policy_action") + " cs2Label=DlpLabels cs2=" +
		field("unmapped.dlp_labels") +
		" cs3Label=GroupIds cs3=" + field("actor.user.groups")
}

func rsyslogConfig(s *sink, w *work, in string) string {
	host, port, _ := net.SplitHostPort(s.tcp.Addr().String()) // a listener's address always splits
	return fmt.Sprintf(`global(workDirectory=%q maxMessageSize="64k")
module(load="imfile") module(load="mmjsonparse")
main_queue(queue.type="FixedArray" queue.size="100000" queue.dequeueBatchSize="%d")
template(name="cef" type="string" string="%s\n")
input(type="imfile" file=%q tag="arbitex")
action(type="mmjsonparse" cookie="")
action(type="omfwd" protocol="tcp" target=%q port=%q template="cef")
`, filepath.Dir(in), w.batch, cef("%$!", "!", "%"), in, host, port)
}

func rsyslogArgs(dir string) []string {
	return []string{"-n", "-f", filepath.Join(dir, "conf"), "-i", filepath.Join(dir, "pid")}
}

func syslogNGConfig(s *sink, w *work, in string) string {
	return syslogNG(s, w, in, cef("${.e.", ".", "}"), "parser p { json-parser(prefix(\".e.\")); };\n", "parser(p); ")
}

// syslogNGPlain forwards lines without parsing.
func syslogNGPlain(s *sink, w *work, in string) string {
	return syslogNG(s, w, in, "${MESSAGE}", "", "")
}

func syslogNG(s *sink, w *work, in, template, parser, parse string) string {
	host, port, _ := net.SplitHostPort(s.tcp.Addr().String()) // a listener's address always splits
	return fmt.Sprintf("@version: 3.35\noptions { stats-freq(0); log-msg-size(65536); flush-lines(%d); };\n", w.batch) +
		fmt.Sprintf("source s { file(%q flags(no-parse) follow-freq(0.1) log-iw-size(10000) log-fetch-limit(1000)); };\n",
			in) + parser +
		fmt.Sprintf("destination d { network(%q port(%s) transport(\"tcp\") template(\"%s\\n\") log-fifo-size(200000)); };\n",
			host, port, template) +
		"log { source(s); " + parse + "destination(d); flags(flow-control); };\n"
}

func syslogNGArgs(dir string) []string {
	return []string{
		"--foreground", "--no-caps", "--stderr", "--cfgfile", filepath.Join(dir, "conf"), "--persist-file",
		filepath.Join(dir, "persist"),
		"--control", filepath.Join(dir, "ctl"), "--pidfile", filepath.Join(dir, "pid"),
	}
}
