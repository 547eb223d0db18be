"""What no package says, typed by us: corrections, Chinese names of capitals, words, lists, poems.

The poems are of the Tang dynasty and in the public domain.
"""

TERRITORIES = set("""
AD AE AF AG AL AM AO AR AT AU AZ BA BB BD BE BF BG BH BI BJ BN BO BR BS BT BW BY BZ CA CD CF CG CH CI CL
CM CN CO CR CU CV CY CZ DE DJ DK DM DO DZ EC EE EG ER ES ET FI FJ FM FR GA GB GD GE GH GL GM GN GQ GR GT
GW GY HN HR HT HU ID IE IL IN IQ IR IS IT JM JO JP KE KG KH KI KM KN KP KR KW KZ LA LB LC LI LK LR LS LT
LU LV LY MA MC MD ME MG MH MK ML MM MN MR MT MU MV MW MX MY MZ NA NE NG NI NL NO NP NR NZ OM PA PE PG PH
PK PL PR PT PW PY QA RO RS RU RW SA SB SC SD SE SG SI SK SL SM SN SO SR SS ST SV SY SZ TD TG TH TJ TL TM
TN TO TR TT TV TW TZ UA UG US UY UZ VA VC VE VN VU WS YE ZA ZM ZW
""".split())

NAMES = {"CD": "DR Congo", "CG": "Congo", "MM": "Myanmar", "CI": "Ivory Coast", "TR": "Turkey",
         "ST": "Sao Tome and Principe", "VC": "Saint Vincent", "MK": "North Macedonia"}
NAMES_ZH = {"AE": "阿联酋", "CD": "刚果民主共和国", "CG": "刚果共和国", "VC": "圣文森特"}
ALIASES = {"US": ["USA", "America", "the USA"], "GB": ["UK", "the UK", "Britain"], "CZ": ["Czech Republic"],
           "AE": ["UAE"], "NL": ["Holland"], "MM": ["Burma"]}

CAPITALS = {"SZ": "Mbabane", "LK": "Sri Jayawardenepura Kotte", "MN": "Ulaanbaatar", "US": "Washington, D.C.",
            "SM": "San Marino", "MC": "Monaco", "SG": "Singapore", "CV": "Praia", "AG": "Saint John's",
            "BR": "Brasilia", "PY": "Asunción", "ST": "São Tomé", "MV": "Malé", "DJ": "Djibouti"}
CONTINENTS = {"AF": ("Africa", "非洲"), "AS": ("Asia", "亚洲"), "EU": ("Europe", "欧洲"),
              "NA": ("North America", "北美洲"), "OC": ("Oceania", "大洋洲"), "SA": ("South America", "南美洲")}

CAPITALS_ZH = {
    "Andorra la Vella": "安道尔城", "Abu Dhabi": "阿布扎比", "Saint John's": "圣约翰", "Canberra": "堪培拉",
    "Bridgetown": "布里奇敦", "Manama": "麦纳麦", "Gitega": "基特加", "Bandar Seri Begawan": "斯里巴加湾市",
    "Sucre": "苏克雷", "Brasilia": "巴西利亚", "Belmopan": "贝尔莫潘", "Ottawa": "渥太华", "Bern": "伯尔尼",
    "Yamoussoukro": "亚穆苏克罗", "Yaoundé": "雅温得", "Beijing": "北京", "San José": "圣何塞", "Praia": "普拉亚",
    "Roseau": "罗索", "Quito": "基多", "Suva": "苏瓦", "Palikir": "帕利基尔", "St. George's": "圣乔治",
    "Guatemala City": "危地马拉城", "Georgetown": "乔治敦", "New Delhi": "新德里", "Kingston": "金斯敦",
    "South Tarawa": "南塔拉瓦", "Moroni": "莫罗尼", "Basseterre": "巴斯特尔", "Kuwait City": "科威特城",
    "Astana": "阿斯塔纳", "Castries": "卡斯特里", "Rabat": "拉巴特", "Naypyidaw": "内比都", "Ulaanbaatar": "乌兰巴托",
    "Valletta": "瓦莱塔", "Port Louis": "路易港", "Malé": "马累", "Lilongwe": "利隆圭", "Abuja": "阿布贾",
    "Yaren": "亚伦", "Wellington": "惠灵顿", "Panama City": "巴拿马城", "Islamabad": "伊斯兰堡",
    "Ngerulmud": "恩吉鲁穆德", "Doha": "多哈", "Honiara": "霍尼亚拉", "Victoria": "维多利亚",
    "San Marino": "圣马力诺", "San Salvador": "圣萨尔瓦多", "Mbabane": "姆巴巴内", "N'Djamena": "恩贾梅纳",
    "Nuku'alofa": "努库阿洛法", "Ankara": "安卡拉", "Dodoma": "多多马", "Washington, D.C.": "华盛顿",
    "Vatican City": "梵蒂冈城", "Kingstown": "金斯敦", "Hanoi": "河内", "Port Vila": "维拉港", "Sana'a": "萨那",
    "Pretoria": "比勒陀利亚", "Sri Jayawardenepura Kotte": "科特", "Monaco": "摩纳哥", "Singapore": "新加坡",
    "Asunción": "亚松森", "São Tomé": "圣多美", "Djibouti": "吉布提", "City of San Marino": "圣马力诺",
    "Jerusalem": "耶路撒冷", "Nuuk": "努克", "Juba": "朱巴", "Havana": "哈瓦那", "Mexico City": "墨西哥城",
}

# Which meaning of WordNet is taken where the first is not the usual one; None: none of them.
SENSES = {"tiger": 1, "whale": 1, "turtle": 1, "table": 1, "bank": 1, "church": 1, "heart": 1, "chicken": 1,
          "peach": None, "plate": None, "juice": None, "cake": None, "radio": None, "nurse": None,
          "glove": None, "art": None, "gold": None, "cherry": None, "wine": None, "library": None,
          "market": None, "cow": None, "deer": None, "milk": None, "key": None, "grass": None, "rice": None,
          **dict.fromkeys("""white black brown shrimp needle hammer saw ring mango chocolate passport dragon lotus president
          novel stamp wave toothbrush writer rose medicine truth test example neck brain time football sleep mushroom
          dolphin hedgehog hundred office ghost enemy question""".split())}

WORDS = [tuple(x.split(":")) for x in """
cat:猫 dog:狗 horse:马 cow:奶牛 pig:猪 sheep:绵羊 goat:山羊 chicken:鸡 duck:鸭子 bird:鸟 fish:鱼 tiger:老虎 lion:狮子
elephant:大象 monkey:猴子 rabbit:兔子 mouse:老鼠 snake:蛇 bear:熊 wolf:狼 fox:狐狸 frog:青蛙 bee:蜜蜂 ant:蚂蚁
butterfly:蝴蝶 spider:蜘蛛 whale:鲸鱼 shark:鲨鱼 turtle:乌龟 panda:熊猫 camel:骆驼 deer:鹿 eagle:老鹰 owl:猫头鹰
apple:苹果 banana:香蕉 orange:橙子 grape:葡萄 pear:梨 peach:桃子 lemon:柠檬 strawberry:草莓 watermelon:西瓜
cherry:樱桃 tomato:西红柿 potato:土豆 carrot:胡萝卜 onion:洋葱 cabbage:卷心菜 rice:米饭 bread:面包 milk:牛奶
egg:鸡蛋 meat:肉 sugar:糖 salt:盐 tea:茶 coffee:咖啡 water:水 juice:果汁 wine:葡萄酒 beer:啤酒 soup:汤 cake:蛋糕
house:房子 door:门 window:窗户 room:房间 kitchen:厨房 table:桌子 chair:椅子 bed:床 lamp:灯 clock:时钟 mirror:镜子
knife:刀 spoon:勺子 fork:叉子 cup:杯子 plate:盘子 bottle:瓶子 key:钥匙 box:盒子 bag:袋子 book:书 pen:钢笔
pencil:铅笔 paper:纸 letter:信 newspaper:报纸 map:地图 picture:图片 camera:照相机 computer:电脑 telephone:电话
television:电视 radio:收音机 car:汽车 bus:公共汽车 train:火车 bicycle:自行车 airplane:飞机 ship:轮船 boat:小船
road:道路 bridge:桥 school:学校 hospital:医院 library:图书馆 museum:博物馆 restaurant:餐馆 hotel:酒店 bank:银行
factory:工厂 shop:商店 park:公园 garden:花园 farm:农场 city:城市 village:村庄 street:街道 church:教堂 castle:城堡
sun:太阳 moon:月亮 star:星星 sky:天空 cloud:云 rain:雨 snow:雪 wind:风 fire:火 ice:冰 river:河流 lake:湖 sea:海
island:岛屿 mountain:山 forest:森林 desert:沙漠 tree:树 flower:花 grass:草 leaf:叶子 stone:石头 sand:沙子 gold:黄金
silver:白银 iron:铁 glass:玻璃 wood:木头 head:头 face:脸 eye:眼睛 ear:耳朵 nose:鼻子 mouth:嘴 tooth:牙齿 hair:头发
hand:手 finger:手指 foot:脚 heart:心脏 blood:血 bone:骨头 father:父亲 mother:母亲 brother:兄弟 sister:姐妹 son:儿子
daughter:女儿 child:孩子 king:国王 queen:女王 teacher:老师 student:学生 doctor:医生 nurse:护士 farmer:农民
soldier:士兵 cook:厨师 friend:朋友 hat:帽子 shirt:衬衫 coat:外套 shoe:鞋 dress:连衣裙 glove:手套 umbrella:雨伞
piano:钢琴 guitar:吉他 violin:小提琴 drum:鼓 song:歌曲 music:音乐 ball:球 game:游戏 money:钱 market:市场 winter:冬天
summer:夏天 spring:春天 autumn:秋天 morning:早晨 night:夜晚 year:年 week:星期 hour:小时 war:战争 peace:和平
one:一 two:二 three:三 four:四 five:五 six:六 seven:七 eight:八 nine:九 ten:十 hundred:百 thousand:千
red:红色 blue:蓝色 green:绿色 yellow:黄色 white:白色 black:黑色 brown:棕色 pink:粉红色 purple:紫色 gray:灰色
crab:螃蟹 shrimp:虾 goose:鹅 crow:乌鸦 parrot:鹦鹉 penguin:企鹅 dolphin:海豚 crocodile:鳄鱼 giraffe:长颈鹿 zebra:斑马
squirrel:松鼠 hedgehog:刺猬 bat:蝙蝠 mosquito:蚊子 fly:苍蝇 worm:虫子 dragon:龙 bamboo:竹子 rose:玫瑰 lotus:荷花
pumpkin:南瓜 garlic:大蒜 pepper:胡椒 mushroom:蘑菇 corn:玉米 wheat:小麦 bean:豆子 noodle:面条 cheese:奶酪 butter:黄油
honey:蜂蜜 chocolate:巧克力 pineapple:菠萝 mango:芒果 plum:李子 breakfast:早餐 lunch:午餐 dinner:晚餐 roof:屋顶 wall:墙
floor:地板 stairs:楼梯 carpet:地毯 curtain:窗帘 sofa:沙发 pillow:枕头 blanket:毯子 soap:肥皂 towel:毛巾 toothbrush:牙刷
candle:蜡烛 scissors:剪刀 needle:针 rope:绳子 hammer:锤子 nail:钉子 saw:锯子 ladder:梯子 basket:篮子 ring:戒指
wheel:轮子 engine:发动机 truck:卡车 ticket:票 passport:护照 airport:机场 station:车站 harbor:港口 tunnel:隧道 tower:塔
palace:宫殿 temple:寺庙 theater:剧院 university:大学 office:办公室 prison:监狱 court:法院 police:警察 lawyer:律师
engineer:工程师 scientist:科学家 artist:艺术家 writer:作家 poet:诗人 painter:画家 singer:歌手 actor:演员 driver:司机
pilot:飞行员 sailor:水手 baker:面包师 carpenter:木匠 judge:法官 president:总统 minister:部长 husband:丈夫 wife:妻子
uncle:叔叔 aunt:阿姨 grandfather:祖父 grandmother:祖母 baby:婴儿 boy:男孩 girl:女孩 man:男人 woman:女人 neighbor:邻居
guest:客人 enemy:敌人 hero:英雄 god:神 ghost:鬼 arm:手臂 leg:腿 knee:膝盖 shoulder:肩膀 neck:脖子 back:背 stomach:胃
brain:大脑 skin:皮肤 lip:嘴唇 tongue:舌头 beard:胡子 tear:眼泪 dream:梦 sleep:睡眠 health:健康 medicine:药 pain:疼痛
love:爱 happiness:幸福 fear:恐惧 anger:愤怒 hope:希望 truth:真理 freedom:自由 time:时间 minute:分钟 second:秒 day:白天
month:月 century:世纪 today:今天 tomorrow:明天 yesterday:昨天 world:世界 earth:地球 air:空气 light:光 shadow:影子
storm:暴风雨 thunder:雷 lightning:闪电 rainbow:彩虹 fog:雾 wave:波浪 beach:海滩 hill:小山 valley:山谷 cave:洞穴 field:田野
energy:能量 electricity:电 oil:油 coal:煤 steel:钢 copper:铜 plastic:塑料 rubber:橡胶 cotton:棉花 silk:丝绸 wool:羊毛
story:故事 poem:诗 novel:小说 sentence:句子 dictionary:词典 lesson:课 question:问题 answer:答案 example:例子 test:考试
gift:礼物 holiday:假期 birthday:生日 wedding:婚礼 festival:节日 dance:舞蹈 film:电影 football:足球 basketball:篮球
chess:国际象棋 bell:铃 flag:旗帜 sword:剑 gun:枪 mask:面具 toy:玩具 doll:娃娃 stamp:邮票 envelope:信封 password:密码
language:语言 word:单词 number:数字 color:颜色 history:历史 science:科学 mathematics:数学 art:艺术 law:法律
""".split()]

OPPOSITES = [tuple(x.split(":")) for x in """
hot:cold big:small long:short tall:low fast:slow old:new good:bad happy:sad day:night up:down left:right open:closed
black:white rich:poor strong:weak light:dark early:late full:empty clean:dirty hard:soft high:deep inside:outside
true:false yes:no love:hate war:peace begin:end buy:sell push:pull win:lose
""".split()]
OPPOSITES_ZH = [tuple(x.split(":")) for x in """
热:冷 大:小 长:短 高:矮 快:慢 新:旧 好:坏 高兴:难过 白天:黑夜 上:下 左:右 开:关 黑:白 富:穷 强:弱 早:晚 满:空 干净:脏
硬:软 里:外 真:假 爱:恨 战争:和平 开始:结束 买:卖 推:拉 赢:输 前:后 多:少 远:近
""".split()]

DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
DAYS_ZH = "星期一 星期二 星期三 星期四 星期五 星期六 星期日".split()
MONTHS = "January February March April May June July August September October November December".split()
MONTHS_ZH = "一月 二月 三月 四月 五月 六月 七月 八月 九月 十月 十一月 十二月".split()
ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth".split()
LISTS = [
    ("the days of the week", "一周的七天", DAYS, DAYS_ZH),
    ("the months of the year", "一年的十二个月", MONTHS, MONTHS_ZH),
    ("the four seasons", "四季", "spring summer autumn winter".split(), "春 夏 秋 冬".split()),
    ("the planets", "八大行星", "Mercury Venus Earth Mars Jupiter Saturn Uranus Neptune".split(),
     "水星 金星 地球 火星 木星 土星 天王星 海王星".split()),
    ("the continents", "七大洲", ["Asia", "Africa", "North America", "South America", "Antarctica", "Europe",
                               "Oceania"], "亚洲 非洲 北美洲 南美洲 南极洲 欧洲 大洋洲".split()),
    ("the oceans", "四大洋", "Pacific Atlantic Indian Arctic".split(), "太平洋 大西洋 印度洋 北冰洋".split()),
    ("the colors of the rainbow", "彩虹的颜色", "red orange yellow green blue indigo violet".split(),
     "红 橙 黄 绿 蓝 靛 紫".split()),
    ("the four directions", "四个方向", "north south east west".split(), "东 南 西 北".split()),
    ("the vowels", "元音字母", "a e i o u".split(), "a e i o u".split()),
    ("the numbers from one to ten", "一到十的数字", "one two three four five six seven eight nine ten".split(),
     "一 二 三 四 五 六 七 八 九 十".split()),
]

POEMS = [  # title, author, author in English, lines
    ("静夜思", "李白", "Li Bai", "床前明月光，疑是地上霜。举头望明月，低头思故乡。"),
    ("春晓", "孟浩然", "Meng Haoran", "春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。"),
    ("登鹳雀楼", "王之涣", "Wang Zhihuan", "白日依山尽，黄河入海流。欲穷千里目，更上一层楼。"),
    ("相思", "王维", "Wang Wei", "红豆生南国，春来发几枝。愿君多采撷，此物最相思。"),
    ("悯农", "李绅", "Li Shen", "锄禾日当午，汗滴禾下土。谁知盘中餐，粒粒皆辛苦。"),
    ("江雪", "柳宗元", "Liu Zongyuan", "千山鸟飞绝，万径人踪灭。孤舟蓑笠翁，独钓寒江雪。"),
    ("寻隐者不遇", "贾岛", "Jia Dao", "松下问童子，言师采药去。只在此山中，云深不知处。"),
    ("鹿柴", "王维", "Wang Wei", "空山不见人，但闻人语响。返景入深林，复照青苔上。"),
    ("早发白帝城", "李白", "Li Bai", "朝辞白帝彩云间，千里江陵一日还。两岸猿声啼不住，轻舟已过万重山。"),
    ("望庐山瀑布", "李白", "Li Bai", "日照香炉生紫烟，遥看瀑布挂前川。飞流直下三千尺，疑是银河落九天。"),
    ("绝句", "杜甫", "Du Fu", "两个黄鹂鸣翠柳，一行白鹭上青天。窗含西岭千秋雪，门泊东吴万里船。"),
    ("枫桥夜泊", "张继", "Zhang Ji", "月落乌啼霜满天，江枫渔火对愁眠。姑苏城外寒山寺，夜半钟声到客船。"),
    ("清明", "杜牧", "Du Mu", "清明时节雨纷纷，路上行人欲断魂。借问酒家何处有，牧童遥指杏花村。"),
    ("咏柳", "贺知章", "He Zhizhang", "碧玉妆成一树高，万条垂下绿丝绦。不知细叶谁裁出，二月春风似剪刀。"),
    ("山行", "杜牧", "Du Mu", "远上寒山石径斜，白云生处有人家。停车坐爱枫林晚，霜叶红于二月花。"),
    ("出塞", "王昌龄", "Wang Changling", "秦时明月汉时关，万里长征人未还。但使龙城飞将在，不教胡马度阴山。"),
    ("凉州词", "王翰", "Wang Han", "葡萄美酒夜光杯，欲饮琵琶马上催。醉卧沙场君莫笑，古来征战几人回。"),
    ("送元二使安西", "王维", "Wang Wei", "渭城朝雨浥轻尘，客舍青青柳色新。劝君更尽一杯酒，西出阳关无故人。"),
    ("黄鹤楼送孟浩然之广陵", "李白", "Li Bai", "故人西辞黄鹤楼，烟花三月下扬州。孤帆远影碧空尽，唯见长江天际流。"),
    ("回乡偶书", "贺知章", "He Zhizhang", "少小离家老大回，乡音无改鬓毛衰。儿童相见不相识，笑问客从何处来。"),
]
