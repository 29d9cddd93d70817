# SPDX-License-Identifier: MIT
"""nginx_client.py -- fetches every page of the test's site and compares it with its file.

usage: nginx_client.py PORT DIRECTORY PREFIX [gzip]
"""
import gzip
import http.client
import pathlib
import sys


def fetch(port, path, headers, body=None):
    """One request on a connection of its own: status, body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST" if body else "GET", path, body, headers)
    answer = connection.getresponse()
    data = answer.read()
    if answer.getheader("Content-Encoding") == "gzip":
        data = gzip.decompress(data)
    connection.close()
    return answer.status, data


def main():
    port, prefix = int(sys.argv[1]), sys.argv[3]
    site = pathlib.Path(sys.argv[2]) / "site"
    headers = {"Accept-Encoding": "gzip"} if "gzip" in sys.argv[4:] else {}
    wrong = 0
    for n in range(200):
        wrong += fetch(port, f"{prefix}{n}.html", headers) != (
            200, (site / f"{n}.html").read_bytes())
    print(prefix, "wrong:", wrong)


if __name__ == "__main__":
    main()
