package bundle

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/agent/emr"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// secrets are texts with a secret in them, and the part that must not be shown.
var secrets = []struct{ text, secret string }{
	{"AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPLE"},
	{"key ASIAIOSFODNN7EXAMPLE used", "ASIAIOSFODNN7EXAMPLE"},
	{"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "wJalrXUtnFEMI"},
	{`{"SecretAccessKey" : "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}`, "bPxRfiCYEXAMPLEKEY"},
	{"IQoJb3JpZ2luX2VjEJr//////////wEaCXVzLWVhc3QtMSJIMEYCIQDexample9", "IQoJb3JpZ2luX2VjEJr"},
	{"FwoGZXIvYXdzEBYaDKexampleTOKEN1234567890abcdef==", "FwoGZXIvYXdz"},
	{"aws_session_token=short", "short"},
	{"https://user:hunter2@proxy.example:3128/", "hunter2"},
	{"https://user:hun/ter@2@proxy.example:3128/", "hun/ter"},
	{"http://tokenalone@proxy", "tokenalone"},
	{"proxy user:hunter2@proxy.example:3128 refused", "hunter2"},
	{"jdbc:postgresql://db/x?user=me&password=hunter2", "hunter2"},
	{"s3 presigned https://b.s3.amazonaws.com/k?X-Amz-Credential=AKIA&X-Amz-Signature=0fe1ab", "0fe1ab"},
	{"GET /k?X-Amz-Security-Token=abc%2Fdef&x=1", "abc%2Fdef"},
	{"arn:aws:iam::123456789012:role/Finance-Top-Secret", "Finance-Top-Secret"},
	{"arn:aws-us-gov:sts::123456789012:assumed-role/Admin/i-0a1", "assumed-role/Admin"},
	{"arn:aws:s3:::finance-top-secret/key", "finance-top-secret"},
	{"account 123456789012", "123456789012"},
	{"aws-logs-123456789012-us-east-1", "123456789012"},
	{"1234-5678-9012", "5678"},
	{"password=hunter2", "hunter2"},
	{`"password": "hunter2 and more"`, "hunter2 and more"},
	{`{\"password\": \"hunter2\"}`, "hunter2"},
	{"spark.ssl.keyPassword   hunter2", "hunter2"},
	{`password=a)b&c;d}eee`, "eee"}, {`password=\hunter2`, "hunter2"}, {`password="hunter2 and`, "hunter2"}, {`"password":"hunter2\"xyz`, "xyz"},
	{"spark.ssl.keyPassword hunter2 javax.jdo.option.ConnectionPassword=hunter3", "hunter3"},
	{"--db-password hunter2 --x", "hunter2"},
	{"PGPASSWORD='hunter2 x'", "hunter2 x"},
	{"api_key => hunter2", "hunter2"},
	{"Authorization: Bearer hunter2.abc", "hunter2"},
	{"authorization: Basic aHVudGVyMg==", "aHVudGVyMg"},
	{"<name>fs.s3a.secret.key</name>\n  <value>hunter2</value>", "hunter2"},
	{"-----BEGIN RSA PRIVATE KEY-----\nabc\ndef\n-----END RSA PRIVATE KEY-----", "def"},
	{"-----BEGIN PRIVATE KEY-----\nabc\nghi", "ghi"},
	{"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "eyJzdWIiOiIxIn0"},
	{"d41d8cd98f00b204e9800998ecf8427e", "d41d8cd98f00b204"},
	{"X-Auth-Token: Bearer hunter2secret", "hunter2"}, {"token=Bearer hunter2secret", "hunter2"}, {"refused: Basic dXNlcjpodW50ZXIy", "dXNlcjpodW50"},
	{"Set-Cookie: a=b; session=hunter2", "hunter2"},
	{"password%3Dhunter2", "hunter2"}, {"next=%2Fx%3Fapi_key%253Dhunter2%2526y", "hunter2"},
	{"url=https%3A%2F%2Fb.s3.amazonaws.com%2Fx%3FX-Amz-Signature%3D0fe1ab", "0fe1ab"},
	{"via http%3A%2F%2Fuser%3Ahunter2%40proxy.example%3A3128", "hunter2"}, {"via http%253A%252F%252Fuser%253Ahunter2%2540proxy.example", "hunter2"},
	{"wJalrXUtnFEMI%2FK7MDENG%2FbPxRfiCYEXAMPLEKEY", "bPxRfiCYEXAMPLEKEY"},
	{"curl -u user:hunter2 http://x", "hunter2"}, {"curl --proxy-user=user:hunter2", "hunter2"},
	{`{"name": "DB_PASSWORD", "value": "hunter2"}`, "hunter2"}, {`{\"Key\":\"api_key\",\"Value\":\"hunter2\"}`, "hunter2"},
	{"{\n  \"name\": \"x.password\",\n  \"value\": \"hunter2 \\n more\"\n}", "hunter2"},
	{"DBPASS=hunter2", "hunter2"}, {"MYSQL_PW=hunter2", "hunter2"},
	{"mysql -h db -u root -phunter2! -e 'select 1'", "hunter2"}, {"+ /usr/bin/mysqldump -uroot -p'hunter two' x", "hunter two"}, {"bash -c 'mariadb-admin -phunter2'", "hunter2"},
	{"mysql -e 'a; b -pc' -phunter2 -e 'x -py'", "hunter2"}, {"echo x; echo hunter2 | passwd --stdin hadoop", "hunter2"},
	{"beeline -u jdbc:hive2://h:10000 -n hive -p hunter2", "hunter2"}, {"sshpass -p hunter2 ssh x", "hunter2"}, {"sshpass -phunter2 ssh x", "hunter2"},
	{"redis-cli -h x -a hunter2 ping", "hunter2"}, {"ldapsearch -x -D cn=x -w hunter2", "hunter2"}, {"mongosh -u x -p hunter2", "hunter2"},
	{"docker login -u x -p hunter2 host", "hunter2"}, {"useradd -m -p hunter2 x", "hunter2"}, {"smbclient -U user%hunter2 //x/y", "hunter2"},
	{"sqlplus scott/hunter2@host", "hunter2"}, {"sqlplus -s scott/hunter2", "hunter2"}, {"jdbc:oracle:thin:scott/hunter2@//host:1521/x", "hunter2"},
	{"aws configure set aws_secret_access_key hunter2", "hunter2"}, {"echo hadoop:hunter2 | sudo chpasswd", "hunter2"}, {"echo 'hunter2' | kinit admin", "hunter2"},
	{"mysql -pab'c hunter2' x", "hunter2"}, {`mysql -p'ab'"hunter2"`, "hunter2"}, {"mysql -pab;hunter2&x|y z", "hunter2"}, {`mysql -pab\ hunter2 x`, "hunter2"},
	{"/opt/mysql-8.0/bin/mysql5.7 -phunter2", "hunter2"}, {`"Args":["mysql","-u","root","-phunter2"]`, "hunter2"}, {"[sshpass, -p, hunter2, ssh]", "hunter2"},
	{"mysqladmin -u root password 'hunter2'", "hunter2"}, {`mysql -e "CREATE USER x IDENTIFIED BY 'hunter2'"`, "hunter2"}, {"ALTER USER x IDENTIFIED BY hunter2;", "hunter2"},
	{`"SET PASSWORD FOR x = PASSWORD(\"hunter2\")"`, "hunter2"}, {"docker login -phunter2 h", "hunter2"}, {"mongosh -u x -p'hunter2'", "hunter2"},
	{"redis-cli -h x AUTH default hunter2", "hunter2"}, {"redis-cli CONFIG SET requirepass hunter2", "hunter2"}, {"ldapsearch -xw hunter2", "hunter2"}, {"ldappasswd -s hunter2", "hunter2"},
	{"kadmin -p admin/admin -w hunter2 -q x", "hunter2"}, {`kadmin.local -q "addprinc -pw hunter2 x"`, "hunter2"}, {"kinit admin <<< hunter2", "hunter2"}, {"chpasswd <<<'hadoop:hunter2'", "hunter2"},
	{"echo hunter2 | sudo -u x -S true", "hunter2"}, {`sqlplus scott/"a/b@hunter2"@host`, "hunter2"}, {"sqlplus64 scott/a/hunter2@host", "hunter2"}, {"jdbc:oracle:thin:scott/a@hunter2@//h:1521/x", "hunter2"},
	{"htpasswd -b /etc/x user hunter2", "hunter2"}, {"htpasswd -bc /etc/x user 'hunter2 x'", "hunter2"}, {"htpasswd -c -B -C 10 -b /etc/x user hunter2", "hunter2"}, {"htpasswd -nb user hunter2 > /etc/x", "hunter2"},
	{"/usr/bin/htpasswd -nbB user hunter2", "hunter2"}, {`"Args":["htpasswd","-b","/etc/x","user","hunter2"]`, "hunter2"}, {"sudo htpasswd -bv /etc/x user hunter2 && true", "hunter2"},
	{"yes hunter2 | passwd hadoop", "hunter2"}, {"yes 'hunter2 x' | sudo passwd", "hunter2"}, {"echo hunter2 | passwd --stdin", "hunter2"}, {"chpasswd <<< user:hunter2", "hunter2"},
	{"sudo chpasswd -c SHA512 <<< \"user:hunter2\"", "hunter2"}, {"passwd --stdin hadoop <<<hunter2", "hunter2"}, {"cat <<< hunter2 | passwd --stdin x", "hunter2"},
	{"chpasswd <<EOF\nuser:hunter2\nother:hunter2\nEOF", "hunter2"}, {"sudo chpasswd <<-'END'\n  user:hunter2\n  END", "hunter2"},
	{"openssl passwd -6 hunter2", "hunter2"}, {"openssl passwd -1 -salt ab hunter2", "hunter2"}, {"p=$(openssl passwd -apr1 'hunter2 x')", "hunter2"},
	{"ghp_abcdefghijklmnopqrstuvwxyz0123456789", "abcdefghijkl"}, {"xoxb-1234567890-abcdefghijkl", "abcdefghijkl"},
}

func TestRedact(t *testing.T) {
	for _, s := range secrets {
		for _, text := range []string{s.text, "before " + s.text + " after", "a\n" + s.text + "\nb"} {
			if got := Redact(text); strings.Contains(got, s.secret) {
				t.Errorf("%q becomes %q", text, got)
			}
		}
	}
	for _, text := range []string{
		"", "-A EMR-STATIC-IP-OUT -d 10.0.0.0/16 -j RETURN",
		"/mnt/var/lib/instance-controller/public/shutdown-actions/emr-static-ip-release.sh",
		"i-0123456789abcdef0 eni-0123456789ab subnet-012345678901 j-2AXXXXXXGAPLF",
		"http://169.254.169.254/latest/meta-data/", "ec2:AssignPrivateIpAddresses", "2026-01-01T00:00:00.000000Z",
		"link/ether 0a:12:34:56:78:9a brd ff:ff:ff:ff:ff:ff", "changed=3 unchanged=9 duration=1.2s",
		"mkdir -p /var/log/mysql", "ssh -p 22 host", "docker run -p 8080:80 x", "mysql -u root -p", "echo done", "echo x | grep y", "ps -p 12 -w",
		"htpasswd -c /etc/httpd/users user", "htpasswd -B /etc/x user", "Usage: htpasswd -b[cmBdpsDv] [-C cost] passwordfile username password", "yes | yum install x", "yes | passwd", "yes y | mkfs /dev/x",
		"passwd hadoop", "cat /etc/passwd", "getent passwd hadoop", "chpasswd < users.txt\nname: value", "cat <<EOF\nname: value\nEOF", "openssl version",
		"Usage: mysql [OPTIONS] [database]  -p, --password[=name]", "sqlplus / as sysdba @/opt/x/y.sql", "a node is identified by its MAC address", "echo (hidden) | kinit admin",
		`{"Effect": "Allow", "Resource": "arn:aws:ec2:us-east-1:ACCOUNT_ID:network-interface/*"}`, "arn:aws:ec2:us-east-1:*:subnet/subnet-1",
	} {
		if got := Redact(text); got != text {
			t.Errorf("%q becomes %q", text, got)
		}
	}
}

// The model's files of EMR keep what this program reads in them.
func TestRedactedFilesAreRead(t *testing.T) {
	for _, spec := range []cloud.ClusterSpec{{Masters: 1, Cores: 2}, {Masters: 3, Cores: 2}, {Masters: 1, Cores: 1, Tasks: 1, Fleets: true}} {
		c := cloud.New(cloud.Options{Seed: 1})
		spec.Subnet = c.CreateSubnet(c.CreateVPC(prefix("10.0.0.0/16")), prefix("10.0.1.0/24"))
		spec.Args = []string{"10.0.1.10", "10.0.1.20-29", "--verify", "hunter2Example!"}
		cluster, err := c.LaunchCluster(spec)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range cluster.Nodes {
			before, after := t.TempDir(), t.TempDir()
			for p, content := range n.EMRFiles(cloud.FilesFull) {
				kind := EMR
				if strings.HasSuffix(p, ".txt") {
					kind = State
				}
				f, _ := file(Part{Name: p, Kind: kind}, content, nil, nil)
				if f.Note != "" || strings.Contains(string(f.Content), "hunter2Example!") || strings.Contains(string(f.Content), "123456789012") {
					t.Errorf("%s: %s\n%s", p, f.Note, f.Content)
				}
				write(t, filepath.Join(before, p), content)
				write(t, filepath.Join(after, p), f.Content)
			}
			want, got := emr.ReadFiles(before), emr.ReadFiles(after)
			if len(want.Files) == 0 || !equal(want, got) {
				t.Errorf("%+v becomes %+v", want, got)
			}
		}
	}
}

// Of unknown fields only harmless values are shown. What is secret in one file is learned.
func TestRedactJSON(t *testing.T) {
	in := `{"jobFlowId": "j-1EXAMPLE00001", "instanceCount": 3, "accountId": "123456789012", "owner": 123456789012, "haEnabled": true, "candidates": ["ip-10-0-1-5.ec2.internal"],
		"configurations": [{"classification": "hive-site", "properties": {"javax.jdo.option.ConnectionPassword": "Tr0ub4dor&3", "ConnectionUserName": "finance"}}],
		"password": {"value": "short", "n": 7}, "x y": 1, "AKIAIOSFODNN7EXAMPLE": 2, "masterPin": "12345678", "time": "2026-01-01T00:00:00Z", "nothing": null}`
	learned := map[string]bool{}
	out, err := RedactJSON([]byte(in), func(s string) { learned[s] = true })
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	if got["jobFlowId"] != "j-1EXAMPLE00001" || got["instanceCount"] != 3.0 || got["haEnabled"] != true || got["time"] != "2026-01-01T00:00:00Z" ||
		got["candidates"].([]any)[0] != "ip-10-0-1-5.ec2.internal" || len(got["configurations"].([]any)) != 1 {
		t.Errorf("too much is hidden:\n%s", out)
	}
	for _, secret := range []string{"123456789012", "Tr0ub4dor&3", "finance", "short", "7", "x y", "AKIAIOSFODNN7EXAMPLE", "12345678"} {
		if strings.Contains(string(out), secret) {
			t.Errorf("%s is shown:\n%s", secret, out)
		}
	}
	if !learned["Tr0ub4dor&3"] || !learned["short"] || learned["finance"] || learned["hive-site"] {
		t.Errorf("learned %v", learned)
	}
	for _, bad := range []string{"", "x", `{"a":`, `{} {}`, "root:$6$x:1:0:99999:7:::"} {
		if out, err := RedactJSON([]byte(bad), nil); err == nil {
			t.Errorf("%q is shown as %s", bad, out)
		}
	}
}

func TestRedactState(t *testing.T) {
	in := `# comment with hunter2
jobFlowId: "j-3H4A2KJ5EXAMPLE"
localInstance { instanceRole: "MASTER" secretValue: hunter2 }
list: ["finance", "10.0.1.5"] note: 'many words' count: 7
notProtobuf hunter2 core: { names: [ x ] }
`
	want := `
jobFlowId: "j-3H4A2KJ5EXAMPLE"
localInstance { instanceRole: "MASTER" secretValue: "(hidden)" }
list: ["(hidden)", "10.0.1.5"] note: "(hidden)" count: 7
"(hidden)" "(hidden)" core: { names: [ "(hidden)" ] }
`
	if got := string(redactState([]byte(in), nil)); got != want {
		t.Errorf("%s", got)
	}
}

// FuzzRedact checks that no text brings a secret through, that redacting twice is the same as once,
// and that JSON stays JSON.
func FuzzRedact(f *testing.F) {
	for _, s := range secrets {
		f.Add(s.text, "x")
	}
	f.Fuzz(func(t *testing.T, s, around string) {
		if once := Redact(s); Redact(once) != once {
			t.Errorf("%q becomes %q, and that %q", s, once, Redact(once))
		}
		out, err := RedactJSON([]byte(s), nil)
		if err == nil && !json.Valid(out) {
			t.Errorf("%q becomes %q", s, out)
		}
		redactState([]byte(s), nil)
		if got := Redact(around + " password=hunter2hunter2 "); strings.Contains(got, "hunter2hunter2") {
			t.Errorf("%q", got)
		}
	})
}

func write(t *testing.T, p string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// equal reports whether EMR's files say the same.
func equal(a, b emr.Files) bool {
	return reflect.DeepEqual(a, b)
}
