"""Would this box come up with the cable pulled?"""
