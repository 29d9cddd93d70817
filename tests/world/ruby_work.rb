# SPDX-License-Identifier: MIT
# ruby_work.rb -- usage: ruby_work.rb objects|threads|forks|stress SCALE; prints digests.
# Both named: digest loads them when first used, which two threads must not do at once.
require "digest/sha1"
require "digest/sha2"
require "json"
require "set"
require "stringio"
require "zlib"

SCALE = ARGV[1].to_i

def record(n)
  { "id" => n, "text" => "record #{n} " * (n % 9 + 1), "list" => (0..n % 12).map { |i| i * n },
    "inner" => { "half" => n / 2.0, "big" => n**12, "odd" => n.odd? } }
end

def digest(what)
  puts "#{what}: #{Digest::SHA256.hexdigest(yield.to_s)[0, 32]}"
end

def objects
  records = (0...20000 * SCALE).map { |n| record(n) }
  sleep 0.3
  digest("json") { JSON.generate(records) }
  digest("parsed") { JSON.parse(JSON.generate(records)) == records }
  digest("marshal") { Marshal.load(Marshal.dump(records)) == records }
  digest("sorted") { records.sort_by { |r| [r["text"], -r["id"]] }.map { |r| r["id"] } }
  digest("groups") { records.group_by { |r| r["list"].size }.transform_values(&:size).sort }
  text = records.map { |r| r["text"] }.join("\n")
  digest("regular") { text.scan(/record (\d*7)\b/).flatten.map(&:to_i).sum }
  digest("replaced") { text.gsub(/(\d)(\d)/) { $2 + $1 }.tr("a-m", "n-z") }
  digest("deflated") { Zlib::Inflate.inflate(Zlib::Deflate.deflate(text)) == text }
  digest("symbols") { (0...5000).map { |n| "symbol#{n}".to_sym }.to_set.size }
  digest("bignum") { (1..1200).inject(:*) }
  records.select! { |r| r["id"] % 3 == 0 }
  GC.start
  GC.compact if GC.respond_to?(:compact)
  digest("rest") { JSON.generate(records) }
end

def threads
  queue = Queue.new
  done = Queue.new
  workers = 8.times.map do
    Thread.new do
      while (n = queue.pop)
        done << [n, Digest::SHA1.hexdigest(JSON.generate(record(n)) * 20)]
      end
    end
  end
  (4000 * SCALE).times { |n| queue << n }
  workers.size.times { queue << nil }
  workers.each(&:join)
  digest("threads") { Array.new(done.size) { done.pop }.sort }
  fibers = 300.times.map { |n| Fiber.new { (n..n + 5).each { |i| Fiber.yield "x" * i } } }
  digest("fibers") { 5.times.flat_map { fibers.map(&:resume) }.join.size }
  digest("short threads") { (0...600).map { |n| Thread.new { record(n).to_s.size }.value }.sum }
end

def forks
  records = (0...12000 * SCALE).map { |n| record(n) }
  sleep 0.3
  sums = (0...6).map do |child|
    IO.popen("-") do |io|
      if io
        io.read
      else
        records.each { |r| r["child"] = child if r["id"] % 6 == child }
        print Digest::SHA1.hexdigest(JSON.generate(records))
      end
    end
  end
  digest("children") { sums }
  digest("parent") { JSON.generate(records) }
  digest("commands") { 20.times.map { |n| `echo #{n} | cat`.to_i }.sum }
end

def stress
  GC.stress = true
  digest("stress") { (0...6 * SCALE).map { |n| JSON.generate(record(n)).sub(/\d+/) { |d| d * 2 } } }
  GC.stress = false
end

send(ARGV[0])
