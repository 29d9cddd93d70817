# SPDX-License-Identifier: MIT
"""nginx_site.py -- makes pages and a configuration for nginx in an empty directory.

usage: nginx_site.py DIRECTORY PORT

It listens on that port of 127.0.0.1: / as it is, /plain/ through buffers without sendfile, /proxy/
through a second server (DIRECTORY/inner) and a cache.
"""
import os
import pathlib
import random
import sys

CONF = """
@USER@
worker_processes 2;
daemon off;
pid @TOP@/pid;
error_log @TOP@/error warn;
events { worker_connections 512; }
http {
    types { text/html html; application/octet-stream bin; }
    access_log @TOP@/access;
    client_body_temp_path @TOP@/temp/body;
    proxy_temp_path @TOP@/temp/proxy;
    fastcgi_temp_path @TOP@/temp/fastcgi;
    uwsgi_temp_path @TOP@/temp/uwsgi;
    scgi_temp_path @TOP@/temp/scgi;
    proxy_cache_path @TOP@/temp/cache keys_zone=one:1m max_size=8m;
    gzip on;
    gzip_min_length 500;
    sendfile on;
    server {
        listen 127.0.0.1:@PORT@;
        root @TOP@/site;
        client_max_body_size 64m;
        location /proxy/ {
            proxy_pass http://unix:@TOP@/inner:/;
            proxy_cache one;
            proxy_cache_valid 200 1m;
        }
        location /plain/ {
            gzip off;
            sendfile off;
            output_buffers 2 64k;
            alias @TOP@/site/;
        }
    }
    server {
        listen unix:@TOP@/inner;
        root @TOP@/site;
        ssi on;
    }
}
"""


def main():
    top, port = pathlib.Path(sys.argv[1]), sys.argv[2]
    rng = random.Random(5)
    (top / "site").mkdir()
    (top / "temp").mkdir()
    for n in range(200):
        lines = [b"line %d of text and numbers %d\n" % (i, rng.randrange(n + 9))
                 for i in range(n * 20 + 1)]
        (top / "site" / f"{n}.html").write_bytes(b"".join(lines))
    (top / "site" / "big.bin").write_bytes(rng.randbytes(30_000_000))
    conf = CONF.replace("@TOP@", str(top)).replace("@PORT@", port)
    # The workers keep the user; the directory is nobody else's to read.
    conf = conf.replace("@USER@", "user root;" if os.getuid() == 0 else "")
    (top / "nginx.conf").write_text(conf)


main()
