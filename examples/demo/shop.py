"""A till whose sum is wrong: the program that the demo debugs."""

BASKET = [("tea", 3, 420), ("mug", 2, 1250)]


def total(basket):
    cents = 0
    for item, count, price in basket:
        cents = count * price
    return cents


print(f"total: {total(BASKET)} cents", flush=True)
