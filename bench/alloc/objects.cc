// SPDX-License-Identifier: MIT
//
// objects -- a C++ program's heap: strings, trees, hash tables, vectors, shared pointers.
//
// usage: objects WORK      WORK: per cent of the full amount of work
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "kit.h"

namespace
{

struct Node {
    std::string name;
    std::vector<int> numbers;
    std::shared_ptr<Node> next;
};

bench_random rnd = {88172645463325252u};

std::string word()
{
    uint64_t x = bench_next(&rnd);
    return std::string(4 + x % 60, static_cast<char>('a' + x % 26)) + std::to_string(x % 50000);
}

size_t tree(long n)
{
    std::map<std::string, std::string> m;
    for (long i = 0; i < n; i++) {
        std::string k = word();
        if (i % 3 == 2)
            m.erase(k);
        else
            m[k] = word();
    }
    return m.size();
}

size_t table(long n)
{
    std::unordered_map<std::string, std::vector<int>> m;
    for (long i = 0; i < n; i++)
        m[word()].push_back(static_cast<int>(i));
    return m.size();
}

size_t graph(long n)
{
    std::vector<std::shared_ptr<Node>> nodes(1000);
    for (long i = 0; i < n; i++) {
        auto node = std::make_shared<Node>();
        node->name = word();
        node->numbers.resize(bench_next(&rnd) % 50);
        auto &place = nodes[bench_next(&rnd) % nodes.size()];
        if (i % 8)
            node->next = place ? place->next : nullptr;
        place = node;
    }
    return nodes.size();
}

} // namespace

int main(int argc, char **argv)
{
    long work = argc == 2 ? atol(argv[1]) : 0;
    if (work <= 0) {
        fputs("usage: objects WORK\n", stderr);
        return 2;
    }
    uint64_t start = bench_now();
    size_t n = tree(4000 * work) + table(5000 * work) + graph(6000 * work);
    bench_done(start);
    return n ? 0 : 1;
}
