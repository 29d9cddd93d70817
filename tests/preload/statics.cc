// SPDX-License-Identifier: MIT
//
// statics -- objects that live before main and after it: statics with and without a priority,
// statics of functions, thread_local ones, exceptions kept for later.
//
// Each says in its destructor what it still holds. Everything is cold by then: made at the start,
// looked at in the end, with an idle while in between.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

std::string text_of(unsigned seed, unsigned i)
{
    return "object " + std::to_string(seed) + " holds " + std::to_string(i * 2654435761u);
}

class holder {
public:
    holder(const char *name, unsigned seed, unsigned n) : name(name), seed(seed)
    {
        for (unsigned i = 0; i < n; i++)
            held[i] = std::make_unique<std::string>(text_of(seed, i));
    }
    bool right() const
    {
        for (const auto &[i, text] : held)
            if (*text != text_of(seed, i))
                return false;
        return true;
    }
    ~holder()
    {
        std::printf("%s: %zu, %s\n", name, held.size(), right() ? "right" : "WRONG");
    }

private:
    const char *name;
    unsigned seed;
    std::map<unsigned, std::unique_ptr<std::string>> held;
};

holder late("a static", 1, 20000);
__attribute__((init_priority(200))) holder early("a static with a priority", 2, 20000);
std::exception_ptr kept;
std::atomic<unsigned> right_ones;

holder &of_function()
{
    static holder made("a static of a function", 3, 5000);
    return made;
}

// Its destructor runs at the end of its thread, when the next ones may have begun.
struct of_thread {
    unsigned seed;
    std::vector<std::string> texts;
    explicit of_thread(unsigned seed) : seed(seed)
    {
        for (unsigned i = 0; i < 4000; i++)
            texts.push_back(text_of(seed, i));
    }
    ~of_thread()
    {
        for (unsigned i = 0; i < texts.size(); i++)
            if (texts[i] != text_of(seed, i))
                return;
        right_ones++;
    }
};

void idle()
{
    std::this_thread::sleep_for(std::chrono::milliseconds(60));
}

void live(unsigned seed)
{
    thread_local of_thread mine(seed);
    idle();
}

void fail(unsigned depth)
{
    holder unwound("an object on the way", 5, 500);
    if (depth == 0)
        throw std::runtime_error(text_of(6, 7) + std::string(20000, 'x'));
    fail(depth - 1);
}

struct at_the_end {
    ~at_the_end()
    {
        try {
            std::rethrow_exception(kept);
        } catch (const std::runtime_error &e) {
            std::string want = text_of(6, 7) + std::string(20000, 'x');
            std::printf("an exception kept: %s\n", e.what() == want ? "right" : "WRONG");
        }
    }
} last;

} // namespace

int main()
{
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < 8; i++)
        threads.emplace_back(live, 100 + i);
    (void)of_function();
    try {
        fail(3);
    } catch (...) {
        kept = std::current_exception();
    }
    for (auto &t : threads)
        t.join();
    std::printf("threads: %u right\n", right_ones.load());
    idle();
    std::printf("main: %s\n", late.right() && early.right() && of_function().right() ? "right" : "WRONG");
}
