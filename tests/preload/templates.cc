// SPDX-License-Identifier: MIT
// templates -- code that keeps a C++ compiler busy, and a program that uses much of the library.

#include <algorithm>
#include <array>
#include <deque>
#include <functional>
#include <iostream>
#include <list>
#include <map>
#include <memory>
#include <new>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

template <std::size_t N>
struct Chain {
    std::array<int, N> cells{};
    Chain<N - 1> rest;
    int sum() const
    {
        int total = rest.sum();
        for (int cell : cells)
            total += cell;
        return total + static_cast<int>(N);
    }
};

template <>
struct Chain<0> {
    int sum() const { return 0; }
};

template <typename Tuple, std::size_t... I>
std::string join(const Tuple &tuple, std::index_sequence<I...>)
{
    std::ostringstream out;
    ((out << std::get<I>(tuple) << (I + 1 < sizeof...(I) ? "," : "")), ...);
    return out.str();
}

template <typename... T>
std::string join(const T &...parts)
{
    return join(std::make_tuple(parts...), std::index_sequence_for<T...>{});
}

using Value = std::variant<int, double, std::string, std::vector<int>>;

struct Describe {
    std::string operator()(int i) const { return "int " + std::to_string(i); }
    std::string operator()(double d) const { return "double " + std::to_string(d); }
    std::string operator()(const std::string &s) const { return "string " + s; }
    std::string operator()(const std::vector<int> &v) const
    {
        return "vector of " + std::to_string(v.size());
    }
};

static Value make_value(int i)
{
    switch (i % 4) {
    case 0:
        return i;
    case 1:
        return i / 3.0;
    case 2:
        return std::string(static_cast<std::size_t>(i % 60), 'v');
    default:
        return std::vector<int>(static_cast<std::size_t>(i % 500), i);
    }
}

struct alignas(128) Wide {
    long cells[16];
};

static bool aligned_new_works(int count)
{
    std::vector<std::unique_ptr<Wide>> wide;
    for (int i = 0; i < count; i++) {
        wide.push_back(std::make_unique<Wide>());
        wide.back()->cells[15] = i;
        if (reinterpret_cast<std::uintptr_t>(wide.back().get()) % 128 != 0)
            return false;
    }
    for (int i = 0; i < count; i++)
        if (wide[static_cast<std::size_t>(i)]->cells[15] != i)
            return false;
    return true;
}

static bool huge_new_throws()
{
    volatile std::size_t size = static_cast<std::size_t>(-1) / 2;
    try {
        delete[] new char[size];
    } catch (const std::bad_alloc &) {
        return new (std::nothrow) char[size] == nullptr;
    }
    return false;
}

template <typename Map>
static std::size_t fill_map(int count)
{
    Map map;
    for (int i = 0; i < count; i++)
        map[join(i * 7919 % 10007, "key", i % 5)].push_back(make_value(i));
    std::size_t total = 0;
    for (const auto &entry : map)
        for (const auto &value : entry.second)
            total += entry.first.size() * std::visit(Describe{}, value).size();
    return total;
}

int main(int argc, char **argv)
{
    int count = argc > 1 ? std::atoi(argv[1]) : 100;
    std::cout << Chain<60>().sum() << '\n';
    std::cout << fill_map<std::map<std::string, std::vector<Value>>>(count) << ' '
              << fill_map<std::unordered_map<std::string, std::list<Value>>>(count) << '\n';
    std::regex pattern("(\\w+),(key),([0-4])");
    std::multiset<std::string> seen;
    std::deque<std::function<int(int)>> calls;
    for (int i = 0; i < count; i++) {
        std::smatch match;
        std::string text = join(i, "key", i % 5);
        if (std::regex_match(text, match, pattern))
            seen.insert(match[3].str());
        calls.push_back([i, text](int x) { return x + i + static_cast<int>(text.size()); });
    }
    int total = 0;
    for (const auto &call : calls)
        total = call(total) % 1000003;
    std::cout << seen.size() << ' ' << total << ' ' << aligned_new_works(count) << ' '
              << huge_new_throws() << '\n';
    return 0;
}
